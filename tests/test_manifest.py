"""Whose commit a manifest names: the user's project and the neurodeploy that ran are two things."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from neurodeploy import doctor, manifest


def git(folder: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", *words]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def repository(folder: Path) -> str:
    """A repository with one tracked file; its commit."""
    folder.mkdir()
    (folder / "manifest.py").write_text("one")
    git(folder, "init")
    git(folder, "add", ".")
    git(folder, "commit", "-m", "first")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The current folder is a user's project; its commit."""
    commit = repository(tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    return commit


def test_the_project_and_our_checkout_are_told_apart(
    project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = repository(tmp_path / "checkout")
    git(tmp_path / "checkout", "tag", "-a", "-m", "a tag is not the commit", "v1")
    monkeypatch.setattr(manifest, "__file__", str(tmp_path / "checkout" / "manifest.py"))
    made = manifest.collect("train")
    assert (made["git"], made["neurodeploy_commit"]) == ({"commit": project, "modified": False}, ours)
    assert doctor.examine()["commit"] == ours
    (tmp_path / "checkout" / "manifest.py").write_text("two")
    assert manifest.neurodeploy_commit() == f"{ours}-dirty"


def test_an_installed_package_has_no_commit(project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where its environment lies inside the project's checkout, as ``.venv`` often does."""
    for folder in (tmp_path / "project" / ".venv" / "neurodeploy", tmp_path / "elsewhere"):
        folder.mkdir(parents=True)
        (folder / "manifest.py").write_text("installed")
        monkeypatch.setattr(manifest, "__file__", str(folder / "manifest.py"))
        assert manifest.neurodeploy_commit() is None
    assert doctor.examine()["commit"] is None


def test_without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert (manifest.git_commit(), manifest.neurodeploy_commit()) == (None, None)
