"""Chat templates in the manner of published families, written for the tests."""

from __future__ import annotations

CHATML = """\
{%- for m in messages %}
{{- '<|im_start|>' ~ m.role ~ '\n' ~ m.content ~ '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{% endif %}"""

# The generation prompt opens a think block; an answer's own thoughts are cut off.
R1 = """\
{{- bos_token }}
{%- for m in messages %}
    {%- if m.role == 'assistant' %}
{{- '<|Assistant|>' ~ (m.content.split('</think>') | last) ~ '<|end|>' }}
    {%- elif m.role == 'user' %}{{- '<|User|>' ~ m.content }}
    {%- else %}{{- m.content }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|Assistant|><think>\n' }}{% endif %}"""

# Thoughts only after the last question; an empty block where there are none. `open_by_default` is the switch by which
# later models begin to think.
_QWEN = """\
{%- set seen = namespace(last=-1) %}
{%- for m in messages if m.role == 'user' %}{% set seen.last = messages.index(m) %}{% endfor %}
{%- for m in messages %}
    {%- if m.role != 'assistant' %}
{{- '<|im_start|>' ~ m.role ~ '\n' ~ m.content ~ '<|im_end|>\n' }}
    {%- else %}
        {%- set thoughts = m.reasoning_content or '' %}
        {%- set answer = m.content %}
        {%- if not thoughts and '</think>' in answer %}
            {%- set thoughts = (answer.split('</think>') | first).split('<think>') | last %}
            {%- set answer = (answer.split('</think>') | last).lstrip('\n') %}
        {%- endif %}
{{- '<|im_start|>assistant\n' }}
        {%- if loop.index0 > seen.last %}{{- '<think>\n' ~ thoughts.strip('\n') ~ '\n</think>\n\n' }}{% endif %}
{{- answer ~ '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\n' }}GENERATION
{%- endif %}"""
QWEN3 = _QWEN.replace(
    "GENERATION",
    "{%- if enable_thinking is defined and not enable_thinking %}{{- '<think>\n\n</think>\n\n' }}{% endif %}",
)
QWEN35 = _QWEN.replace("GENERATION", "{{- '<think>\n' if enable_thinking else '<think>\n\n</think>\n\n' }}")
QWEN_THINKING = _QWEN.replace("GENERATION", "{{- '<think>\n' }}")

# The end of a block alone says that there are no thoughts.
V31 = """\
{%- for m in messages %}
    {%- if m.role == 'user' %}{{- '<|User|>' ~ m.content }}
    {%- else %}{{- '<|Assistant|></think>' ~ m.content ~ '<|end|>' }}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|Assistant|>' ~ ('<think>' if thinking else '</think>') }}{% endif %}"""

# System text stands in the last user turn, and only while that is the last turn of all.
MISTRAL = """\
{{- bos_token }}
{%- set first = messages[0].content if messages[0].role == 'system' else '' %}
{%- for m in (messages[1:] if first else messages) %}
    {%- if m.role == 'user' %}
{{- '[INST] ' ~ ((first ~ '\n\n') if first and loop.last else '') ~ m.content ~ '[/INST]' }}
    {%- else %}{{- ' ' ~ m.content ~ eos_token }}{% endif %}
{%- endfor %}"""

# No system turns, and user and model take turns.
GEMMA = """\
{{- bos_token }}
{%- if messages and messages[0].role == 'system' %}{{- raise_exception('no system role here') }}{% endif %}
{%- for m in messages %}
    {%- if (m.role == 'user') != (loop.index0 is even) %}{{- raise_exception('roles must take turns') }}{% endif %}
{{- '<start_of_turn>' ~ ('model' if m.role == 'assistant' else 'user') ~ '\n' }}
{{- (m.content | trim) ~ '<end_of_turn>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<start_of_turn>model\n' }}{% endif %}"""

DATED = """\
{%- set day = date_string if date_string is defined else strftime_now('LAYOUT') %}
{{- bos_token ~ 'Today: ' ~ day ~ '\n' }}
{%- for m in messages %}{{- '<|' ~ m.role ~ '|>' ~ m.content ~ eos_token }}{% endfor %}
{%- if add_generation_prompt %}{{- '<|assistant|>' }}{% endif %}"""
LLAMA31 = DATED.replace("LAYOUT", "%d %b %Y")
CLOCK = DATED.replace("LAYOUT", "%H:%M:%S")

TOOLS = """\
{%- if tools %}{{- tools | tojson ~ '\n' }}{% endif %}
{%- for m in messages %}
{{- '<|' ~ m.role ~ '|>' ~ (m.content or '') }}
{%- for call in m.tool_calls or [] %}{{- call.function.name ~ ' ' ~ (call.function.arguments | tojson) }}{% endfor %}
{{- eos_token }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|assistant|>' }}{% endif %}"""
