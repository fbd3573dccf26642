"""What people said: records, where they come from, and what they can be turned into."""

from prospect.feedback.convert.balance import ClassCounts, ClassWeights, class_counts, suggest_class_weights
from prospect.feedback.convert.kinds import as_kind
from prospect.feedback.convert.pairing import Unpairable, count_unpairable, to_paired
from prospect.feedback.convert.scored import Unscorable, count_unscorable, to_scored
from prospect.feedback.convert.verdicts import to_demonstrations, to_unpaired
from prospect.feedback.files.sources import iter_feedback, load_feedback, load_prompts
from prospect.feedback.files.write import as_columns, write_jsonl
from prospect.feedback.records import Demonstration, Feedback, Image, Kind, Message, Paired, Scored, Text, Unpaired
from prospect.feedback.split import prompt_key, split_by_prompt

__all__ = [
    "ClassCounts",
    "ClassWeights",
    "Demonstration",
    "Feedback",
    "Image",
    "Kind",
    "Message",
    "Paired",
    "Scored",
    "Text",
    "Unpairable",
    "Unpaired",
    "Unscorable",
    "as_columns",
    "as_kind",
    "class_counts",
    "count_unpairable",
    "count_unscorable",
    "iter_feedback",
    "load_feedback",
    "load_prompts",
    "prompt_key",
    "split_by_prompt",
    "suggest_class_weights",
    "to_demonstrations",
    "to_paired",
    "to_scored",
    "to_unpaired",
    "write_jsonl",
]
