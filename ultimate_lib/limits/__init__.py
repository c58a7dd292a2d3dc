"""Limits: rates, calls at a time, and budgets; reserved in the worst case before a call, settled at its true cost.

    what a call may be counted under         calls.py      subjects and amounts of a call, of its line as well
    when a day, week or month turns          calendar.py
    admit → Hold | Wait | Refusal, settle    counters.py   the protocol;  memory.py  exact, for one gateway
    what a call needs of its budgets         wants.py
    requests and tokens a minute             rates.py
    the worst case of a call                 worst.py
    what was spent before this process       spent.py      journal and stored sums
    sums that outlive the journal            sums.py       the worker's part
    making and changing limits, their state  edit.py, status.py

Nothing here loads a data frame library: a gateway imports it.
"""
