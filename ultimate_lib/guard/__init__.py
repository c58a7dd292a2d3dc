"""The guard: what is decided when a call is unlike those before it.

rule        the rule itself, pure: anomalous calls in, cool-downs out; live and when history is replayed
known       what each key and model usually costs, in a file that the worker makes and gateways read
events      anomalies that counted and cool-downs that somebody ended, in a file that all processes share
spend       what a key has spent within the last minute, hour and day
words       what a blocked or warned client is told
"""
