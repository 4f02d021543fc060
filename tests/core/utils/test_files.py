"""Names of the files and folders that commands are given and write."""

from pathlib import Path

import pytest

from core.utils.files import distinct_names, folder_name, output_file


@pytest.mark.parametrize(
    ("out", "file"),
    [
        ("runs/edsr", "runs/edsr.csv"),
        ("runs/edsr_v1.1", "runs/edsr_v1.1.csv"),
        ("lr0.001", "lr0.001.csv"),
        ("net.pth", "net.pth.csv"),
        ("report.csv", "report.csv"),
        ("v1.2.html", "v1.2.csv"),
        ("runs/", "runs.csv"),
        (".hidden", ".hidden.csv"),
    ],
)
def test_a_suffix_comes_after_the_whole_name(out, file):
    assert output_file(Path(out), ".csv") == Path(file)


@pytest.mark.parametrize("out", [".", "..", "/", "runs/..", ""])
def test_results_need_a_name(out):
    with pytest.raises(ValueError, match=r"^--out must end with a name for the results, got "):
        output_file(Path(out), ".csv")


def test_equal_names_are_told_apart_by_their_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def names(*paths, name=lambda path: path.name):
        return distinct_names([Path(path) for path in paths], name)

    assert names("a/net.pth", "b/other.pth") == ["net.pth", "other.pth"]
    assert names("a/net.pth", "b/net.pth", "c/x.pth") == ["a/net.pth", "b/net.pth", "x.pth"]
    assert names("1/a/n", "2/a/n", "2/b/n") == ["1/a/n", "2/a/n", "b/n"]
    assert names("/n", "/a/n") == ["/n", "a/n"]
    assert names("a/n", "./a/n", "a/../a/n") == ["n"] * 3
    assert names(".", "x/..") == [tmp_path.name] * 2
    parents = names("x3/A", "x3/B", "x2/A", name=lambda path: f"{path.parent.name}/{path.name}")
    assert parents == ["x3/A", "x3/B", "x2/A"]


def test_folders_without_a_name_of_their_own(tmp_path, monkeypatch):
    (tmp_path / "photos" / "in").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "photos" / "in")
    assert [folder_name(Path(path)) for path in (".", "..", "x")] == ["in", "photos", "x"]
