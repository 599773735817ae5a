"""The Python lines of the README, as printed, on a virtual board; in a script and in a notebook's kernel."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import labd
from labd_shared.errors import ArtifactError, UsageError
from support.paths import ROOT, SHIPPED_BUNDLE

BOARD = "66"
KERNEL_S = 120  # a cell may take


@pytest.fixture(scope="module")
def road():
    """The code block of the README that begins with import labd."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (lines,) = [block for block in blocks if block.startswith("import labd\n")]
    return lines.replace('"03"', f'"{BOARD}"')


def test_the_lines_of_the_readme_run_as_printed(
    road, labd_home, board_python, mnist_folder, tmp_path, monkeypatch, capsys
):
    from labd_host.virtual_board import board_root, board_state

    monkeypatch.chdir(tmp_path)
    board_root.prepare(board_state.folder(BOARD) / "root", board_python)
    named = {}
    exec(compile(road, "README.md", "exec"), named)
    printed = capsys.readouterr().out.splitlines()
    accuracy = labd.network("tfc-w1a1").accuracy_percent
    assert printed[0] == str(float(accuracy))
    assert printed[1].startswith("['7', '2', '1', '0'")
    assert board_state.load(BOARD) is None, "the board ended with its block"
    assert (tmp_path / "build" / "tfc-w1a1-emu" / "manifest.json").is_file()
    for shown in (named["net"], named["design"], named["bundle"]):
        assert len(repr(shown)) < 300 and shown._repr_html_().startswith("<")


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    """Runs cells in a kernel of their own and gives the outputs of each."""

    def run(*cells):
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        NotebookClient(book, timeout=KERNEL_S, resources={"metadata": {"path": str(tmp_path)}}).execute()
        return [cell.outputs for cell in book.cells]

    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "jupyter"))
    return run


def test_the_lines_of_the_readme_run_in_a_notebook(road, labd_home, board_python, mnist_folder, notebook):
    from labd_host.virtual_board import board_root, board_state

    board_root.prepare(board_state.folder(BOARD) / "root", board_python)
    ran, design, table, failure = notebook(
        road,
        "design",
        "design.estimate()",
        "try:\n    labd.network('tfc')\nexcept labd.LabdError as e:\n    print(e)",
    )
    printed = "".join(part.text for part in ran if part.get("name") == "stdout").splitlines()
    assert printed[0] == str(float(labd.network("tfc-w1a1").accuracy_percent))
    assert not any("Warning" in str(part) for part in ran)
    for (shown,), words in ((design, "stages"), (table, "cycles a frame")):
        assert shown.output_type == "execute_result" and words in shown.data["text/html"]
    assert "no network named 'tfc'" in failure[0].text


def test_progress_in_a_notebook_is_a_bar_that_goes_at_the_end(notebook):
    (bar, *rest), (plain,) = notebook(
        """
import labd.progress
labd.progress.FIRST_BAR_S = labd.progress.REDRAW_EVERY_S = 0.0
with labd.progress.shown() as listener:
    for done in range(2):
        listener.progress("images <1>", done, 4)
from IPython.display import display
""",
        "with labd.progress.shown() as listener:\n    listener.say('a line')",
    )
    assert rest == [] and bar.output_type == "display_data"
    assert bar.data["text/html"] == "", "it was taken away"
    assert plain.text == "a line\n"


def test_a_bar_tells_how_far_a_task_is_and_the_time_left(notebook):
    ((bar,),) = notebook(
        """
import labd.progress
labd.progress.FIRST_BAR_S = labd.progress.REDRAW_EVERY_S = 0.0
now_s = iter([0.0, 10.0])
listener = labd.progress.NotebookBars()
listener._now_s = lambda: next(now_s)
for done in range(2):
    listener.progress("images <1>", done, 4)
"""
    )
    assert (
        bar.data["text/html"] == '<progress value="1" max="4"></progress> images &lt;1&gt;: 25 %, 30 s left'
    )


def test_the_shipped_bundle_is_loaded_estimated_and_says_what_it_is():
    bundle = labd.load(SHIPPED_BUNDLE)
    assert isinstance(bundle, labd.Bundle)
    table = bundle.estimate()
    assert table.cycles_per_frame == bundle.manifest.expected.cycles_per_frame
    assert repr(table.frames_per_s).endswith("frames/s (modelled)")
    assert table.record["network"] == "tfc-w1a1"


def test_what_is_loaded_is_told_apart_by_content(tmp_path):
    assert isinstance(labd.load("tfc-w1a1"), labd.Network)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="does not hold a whole compilation"):
        labd.load(tmp_path / "empty")
    with pytest.raises(ArtifactError, match=r"there is no file .*none\.onnx"):
        labd.load(tmp_path / "none.onnx")
    with pytest.raises(UsageError, match="no network, file or folder named 'tfc-w1a'"):
        labd.load("tfc-w1a")


def test_a_compiled_folder_is_loaded_with_its_proofs_and_built(compiled, mnist_folder, tmp_path):
    design = labd.load(compiled.folder)
    assert isinstance(design, labd.Design)
    assert design.stages[-1] == "golden" and design.compiled.stages[0].reused
    assert design.compiled.cost.record() == compiled.cost.record()
    bundle = design.build(out=tmp_path / "bundle")
    assert bundle.manifest.network == "tfc-w1a1" and bundle.path == tmp_path / "bundle"


def test_a_search_answers_with_figures_that_say_they_are_modelled():
    answer = labd.network("tfc-w1a1").explore(target_fps=100_000)
    assert answer.frames_per_s >= 100_000 and answer.frames_per_s.origin == "modelled"
    with pytest.raises(UsageError, match="only one of"):
        labd.network("tfc-w1a1").explore(fastest=True, target_fps=10)


def test_an_unknown_board_is_an_error_at_once(monkeypatch, tmp_path):
    monkeypatch.delenv("LABD_BOARDS", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="no board named '3'"):
        labd.Board("3")


def test_results_are_shown_as_the_commands_print_them(capsys):
    labd.load(SHIPPED_BUNDLE).estimate().show()
    out = capsys.readouterr().out
    assert "bottleneck: idma0, 98 cycles" in out and "cycles a frame" in out


def test_the_package_is_typed():
    assert (Path(labd.__file__).parent / "py.typed").is_file()
