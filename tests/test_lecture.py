"""What the lecture says is so: its Python runs, its commands mean something, its tables are the catalogue's."""

import ast
import re
import runpy
from pathlib import Path

import pytest
from commands import check_command, commands

from kerasnn.config.folders import groups
from kerasnn.models.catalogue import CATALOGUE

PAGE = Path(__file__).resolve().parents[1] / "docs" / "lecture.md"
TEXT = PAGE.read_text(encoding="utf-8")
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
PROSE = FENCED.sub("", TEXT)
SECTIONS = dict(part.split("\n", 1) for part in re.split(r"^##? (?=\d+\. |A lecture)", TEXT, flags=re.MULTILINE)[1:])

# How many claims (`assert`) the Python of each section makes: a block that loses one is noticed here.
CLAIMS = {
    "A lecture on neural networks, run": 4,
    "1. One neuron": 6,
    "2. Layers": 2,
    "3. Activations and their derivatives": 15,
    "4. The forward pass": 6,
    "5. The chain rule": 6,
    "6. Gradient descent": 11,
    "7. The six steps of training": 9,
    "8. Counting parameters": 16,
    "9. Convolution": 20,
    "10. From LeNet to ResNet": 4,
    "11. Dropout": 7,
    "12. Fine-tuning": 10,
    "13. Augmentation": 10,
}


def blocks(text):
    """The Python blocks of a text: line of the fence (from 0) and code."""
    found = re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(text[: block.start()].count("\n"), block[1]) for block in found]


def claims(code):
    """The conditions that a block asserts."""
    return [node.test for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Assert)]


def test_python_of_the_page_runs_in_order():
    # One namespace for all, as a reader's; a false claim is shown with its line of the page.
    namespace = {"__name__": "lecture"}
    for line, code in blocks(TEXT):
        exec(compile("\n" * (line + 1) + code, str(PAGE), "exec"), namespace)


def test_every_block_makes_a_claim_and_none_is_lost():
    assert all(claims(code) for _, code in blocks(TEXT))
    assert not any(isinstance(claim, ast.Constant) for _, code in blocks(TEXT) for claim in claims(code))
    assert {name: sum(len(claims(code)) for _, code in blocks(text)) for name, text in SECTIONS.items()} == CLAIMS


def test_numbers_worked_out_by_hand_are_asserted():
    # Numbers of six decimals are results: each one that the prose tells stands in a claim.
    results = re.compile(r"\d+\.\d{6}\b")
    asserted = " ".join(ast.unparse(claim) for _, code in blocks(TEXT) for claim in claims(code))
    told = set(results.findall(PROSE))
    assert len(told) > 20  # The networks of sections 4 to 6 alone tell twenty.
    assert told <= set(results.findall(asserted))


@pytest.mark.parametrize("command", commands(TEXT))
def test_command_means_something(command):
    check_command(command)


def test_table_of_networks_is_the_catalogues():
    row = r"^\| [^|]+ \| (\d{4}) \| `(\w+)` \| ([\d,]+) \| ?([\d,.]*)( ✗)? \|$"
    rows = re.findall(row, TEXT, re.MULTILINE)
    # From the perceptron to GPT-3, LeNet-5, ResNet, BERT and EfficientNet with two rows each.
    assert len(rows) == 16
    years = [int(year) for year, *_ in rows]
    assert years == sorted(years)
    for _, name, weights, quoted, wrong in rows:
        count = int(weights.replace(",", ""))
        assert count == CATALOGUE[name].params_published, name
        if quoted:
            # What is quoted is ours to a tenth, but for the two rows that the page calls wrong.
            ratio = float(quoted.replace(",", "")) * 1e6 / count
            assert (not 0.9 < ratio < 1.1) == bool(wrong), name


def test_history_has_the_years_of_the_table():
    told = [int(year) for year in re.findall(r"^- \*\*.+\*\* \((\d{4})\)", TEXT, re.MULTILINE)]
    assert told == sorted(told)
    assert set(told) == {int(year) for year in re.findall(r"^\| [^|]+ \| (\d{4}) \|", TEXT, re.MULTILINE)}


def test_arithmetic_of_the_layer_table_is_right():
    rows = re.findall(r"^\| \w+ \| (\(.+\) · \d+) \| ([\d,]+) \|", TEXT, re.MULTILINE)
    assert len(rows) == 5  # c1, c3, c5, f6 and predictions have weights.
    for arithmetic, weights in rows:
        assert eval(arithmetic.replace("·", "*")) == int(weights.replace(",", ""))


def test_kinds_of_augmentation_can_be_chosen():
    kinds = re.findall(r"^\| \w+ \| .+ \| `augment=(\w+)` \|$", TEXT, re.MULTILINE)
    assert len(kinds) == 7
    assert set(kinds) <= set(groups()["augment"])


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#:]+)\)", PROSE))
def test_link_leads_somewhere(link):
    assert (PAGE.parent / link).exists()


def test_pictures_can_be_drawn_again():
    draw = runpy.run_path(str(PAGE.parent / "figures.py"))
    assert len(draw["activations"]().axes) == 3
    # Eight digits, as they are and after each of six kinds.
    assert len(draw["augmentation"]().axes[0].images) == 8 * 7


def test_contents_lead_to_the_sections():
    _, *names = SECTIONS
    anchors = [re.sub(r"[^\w -]", "", name.lower()).replace(" ", "-") for name in names]
    assert re.findall(r"\]\(#([^)]+)\)", PROSE) == anchors
