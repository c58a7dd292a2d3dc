"""Who makes the made-up calls, with which models, how many and when: data alone.

A small company: research works in notebooks, platform has coding agents, support answers customers around the clock,
growth tries things. Models are real ones at their list price; people, teams and paths are invented.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Rhythm = Literal["office", "around", "night"]

DAYS = 77
"""How many whole days of calls lie before the first day of a demo: eleven weeks."""
GROWTH = 0.6
"""The level of a day is 1 + GROWTH * number / DAYS, the first day's number being 0."""
HIGHEST_LEVEL = 2.0
"""Where the level stays when a demo is kept for months."""

WEEK: dict[Rhythm, tuple[float, ...]] = {
    "office": (1.0, 1.05, 1.05, 1.0, 0.85, 0.12, 0.08),
    "around": (1.0, 1.0, 0.97, 1.0, 1.02, 0.72, 0.65),
    "night": (1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0),
}
"""How much of a working day's calls each weekday has, Monday first."""
HOURS: dict[Rhythm, tuple[float, ...]] = {
    "office": (0, 0, 0, 0, 0, 0, 1, 3, 8, 12, 13, 11, 7, 9, 13, 13, 11, 7, 4, 2, 1, 1, 0, 0),
    "around": (3, 2, 2, 1, 1, 2, 3, 5, 7, 9, 10, 10, 9, 9, 10, 10, 9, 8, 8, 9, 9, 8, 6, 4),
    "night": (0, 0, 30, 40, 30, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
}
"""How a day's calls fall on its hours, UTC."""


class Model(NamedTuple):
    """A model as it is asked for, the provider's name in the configuration, and in the price list (empty: none)."""

    name: str
    provider: str
    price_id: str
    protocol: str
    first_token_ms: float  # median
    tokens_per_s: float
    served: str = ""  # as the provider says it served; empty: as asked


_A, _O = "anthropic-messages", "openai-chat"
OPUS = Model("claude-opus-5", "anthropic", "anthropic", _A, 1600, 55)
SONNET = Model("claude-sonnet-4-5", "anthropic", "anthropic", _A, 900, 75, "claude-sonnet-4-5-20250929")
HAIKU = Model("claude-haiku-4-5", "anthropic", "anthropic", _A, 450, 150, "claude-haiku-4-5-20251001")
GPT = Model("gpt-5.4", "openai", "openai", _O, 1100, 70)
GPT_MINI = Model("gpt-5.4-mini", "openai", "openai", _O, 500, 140)
GPT_4O = Model("gpt-4o", "openai", "openai", _O, 600, 90, "gpt-4o-2024-11-20")
EMBEDDING = Model("text-embedding-3-small", "openai", "openai", _O, 90, 0)
GEMINI = Model("gemini-3.5-flash", "gemini", "google", _O, 420, 180)
MISTRAL = Model("mistral-small-latest", "mistral", "mistral", _O, 350, 120)
LLAMA = Model("llama3.2:3b", "ollama", "", _O, 250, 45)
TUNED = Model("acme-support-7b", "acme-inference", "", _O, 300, 90)

MODELS = (OPUS, SONNET, HAIKU, GPT, GPT_MINI, GPT_4O, EMBEDDING, GEMINI, MISTRAL, LLAMA, TUNED)


class Person(NamedTuple):
    """A user, or a service, with a key."""

    name: str
    team: str
    key: str

    @property
    def user_id(self) -> str:
        """The id that stands in a record."""
        return f"user_{self.name}"


MAYA = Person("maya", "research", "key_maya_laptop")
JONAS = Person("jonas", "research", "key_jonas_laptop")
AIKO = Person("aiko", "research", "key_aiko_lab")
LENA = Person("lena", "platform", "key_lena_laptop")
TOM = Person("tom", "platform", "key_tom_laptop")
SOFIA = Person("sofia", "platform", "key_sofia_laptop")
CI = Person("ci", "platform", "key_ci_review")
BOT = Person("support-bot", "support", "key_support_bot")
CARLA = Person("carla", "growth", "key_carla_laptop")
OMAR = Person("omar", "growth", "key_omar_laptop")

KEYS = frozenset(one.key for one in (MAYA, JONAS, AIKO, LENA, TOM, SOFIA, CI, BOT, CARLA, OMAR))
"""The ids of their keys. No store has a row of them: nobody can call with one."""

COST_CENTERS = {"research": "R-100", "platform": "P-200", "support": "S-300", "growth": "G-400"}
"""Team → cost center."""


class Workload(NamedTuple):
    """One kind of calls: who makes them, how many, when, how large. Tokens are medians; shares are 0-1."""

    app: str
    project: str
    people: tuple[Person, ...]
    models: tuple[tuple[Model, float], ...]  # and their weights
    a_day: float  # calls of a working day at level 1
    rhythm: Rhythm
    input_tokens: float
    output_tokens: float
    spread: float = 0.8  # sigma of the logarithm of both
    stream: float = 0.5  # share of streams
    session_calls: int = 0  # calls of a session; 0: no sessions
    context_tokens: int = 0  # what each call of a session adds to the input of the next
    cached: float = 0.0  # share of the input that the provider reads from its cache
    notebooks: tuple[str, ...] = ()
    operation: str = "chat"
    billing: str = "metered"
    tags: tuple[str, ...] = ()
    planted: str = ""  # only in the span of the planted anomaly of this name, a_day calls in all
    same_request: bool = False  # every call sends the same bytes


RESEARCH_NOTEBOOKS = (
    "research/churn-interviews.ipynb", "research/labels-v3.ipynb", "research/prompt-ablation.ipynb",
    "research/eval-report.ipynb", "research/survey-2026.ipynb",
)  # fmt: skip
GROWTH_NOTEBOOKS = ("growth/newsletter.ipynb", "growth/landing-pages.ipynb")
CATALOG = "growth/catalog-rewrite.ipynb"

SUPPORT_BEFORE = ((GPT_4O, 0.85), (TUNED, 0.03), (MISTRAL, 0.12))
SUPPORT_AFTER = ((GPT_MINI, 0.85), (TUNED, 0.03), (MISTRAL, 0.12))
"""The models of the support bot before and after the planted change."""

WORKLOADS: tuple[Workload, ...] = (
    Workload(
        "notebook", "insights", (MAYA, JONAS, AIKO), ((SONNET, 0.4), (GPT, 0.25), (GEMINI, 0.35)), 260, "office",
        1800, 420, stream=0.3, session_calls=14, notebooks=RESEARCH_NOTEBOOKS,
    ),
    Workload(
        "notebook", "campaigns", (CARLA, OMAR), ((GPT_MINI, 0.45), (HAIKU, 0.25), (GEMINI, 0.3)), 150, "office",
        1100, 520, stream=0.3, session_calls=9, notebooks=GROWTH_NOTEBOOKS,
    ),
    Workload(
        "claude-code", "backend", (LENA, TOM), ((SONNET, 0.72), (OPUS, 0.1), (HAIKU, 0.18)), 360, "office",
        9000, 380, spread=0.6, stream=1.0, session_calls=26, context_tokens=1900, cached=0.93,
    ),
    Workload(
        "claude-code", "mobile", (SOFIA,), ((SONNET, 0.8), (HAIKU, 0.2)), 100, "office",
        8000, 350, spread=0.6, stream=1.0, session_calls=22, context_tokens=1700, cached=0.92,
        billing="subscription",
    ),
    Workload(
        "support-bot", "helpdesk", (BOT,), SUPPORT_BEFORE, 460, "around",
        1500, 210, spread=0.5, stream=0.9, session_calls=5, context_tokens=300, cached=0.35, tags=("env=prod",),
    ),
    Workload(
        "ci-review", "backend", (CI,), ((GPT_MINI, 0.6), (HAIKU, 0.4)), 100, "office",
        5200, 300, spread=0.7, stream=0.0, tags=("env=ci",),
    ),
    Workload(
        "nightly-eval", "insights", (AIKO,), ((GPT, 0.4), (SONNET, 0.3), (GEMINI, 0.3)), 110, "night",
        1200, 260, spread=0.4, stream=0.0, tags=("env=batch", "suite=regression"),
    ),
    Workload(
        "doc-search", "helpdesk", (BOT,), ((EMBEDDING, 1.0),), 110, "around",
        600, 0, spread=0.5, stream=0.0, operation="embeddings", tags=("env=prod",),
    ),
    Workload(
        "notebook", "insights", (JONAS,), ((LLAMA, 1.0),), 30, "office",
        700, 180, stream=0.5, notebooks=RESEARCH_NOTEBOOKS[2:3], billing="local",
    ),
    Workload(
        "notebook", "campaigns", (CARLA,), ((OPUS, 1.0),), 210, "office",
        42_000, 3600, spread=0.25, stream=0.0, session_calls=300, notebooks=(CATALOG,), planted="spend-spike",
    ),
    Workload(
        "ci-review", "backend", (CI,), ((GPT_MINI, 1.0),), 2600, "around",
        3000, 60, spread=0.05, stream=0.0, planted="runaway-key", same_request=True, tags=("env=ci",),
    ),
)  # fmt: skip
