"""Demo mode: a provider that answers as scripted; a lake of made-up calls, its trend, seasons, anomalies known.

    demo.answer("/v1/messages", body, "msg_1")                    # script.py, pure: what the scripted provider says
    lake.fill(Lake.open(settings, clock), book)                   # lake.py: eleven weeks of calls that end now, once
    planted.PLANTED                                               # what stands in them that someone should find

The script alone is loaded here: whoever serves it needs no data frames.
"""

from __future__ import annotations

from ultimate_lib.demo.script import Answer, Script, answer

__all__ = ["Answer", "Script", "answer"]
