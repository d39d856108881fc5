"""The branch: ids that repeat, nothing of the user's lost, nothing left behind."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from patchgen.branch import BranchRecord, BranchState, Wish, make_branch, preview, require_branch
from patchgen.config import Config
from patchgen.engine.generate import State
from patchgen.engine.series import Series
from patchgen.engine.spec import At, Edit, Insert
from patchgen.errors import (
    BranchCheckedOut,
    DriftError,
    ForeignBranch,
    NoIdentity,
    StorageError,
    UsageError,
    WorktreeInUse,
)
from patchgen.source.resolve import Base, resolve
from patchgen.ui import Ui
from tests.minirepo import git, make_repo, patch, series, two_patches

BRANCH = "cpr/v5.2.0"


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return make_repo(tmp_path / "qemu")


def base_of(repo: Path, tag: str = "v5.2.0") -> Base:
    return resolve(tag, repo=str(repo), source=None, config=Config(), ui=Ui(quiet=True))


def apply(repo: Path, wish: Wish | None = None, what: Series | None = None) -> BranchRecord:
    return make_branch(base_of(repo), what or two_patches(), wish or Wish())


def objects_and_refs(repo: Path) -> tuple[str, str]:
    return git(repo, "count-objects", "-v"), git(repo, "for-each-ref")


def test_one_commit_per_patch_and_nothing_checked_out(repo: Path) -> None:
    record = apply(repo)
    assert record.state is BranchState.CREATED
    assert [p.state for p in record.patches] == [State.APPLIED, State.APPLIED]
    assert git(repo, "rev-list", "--reverse", f"v5.2.0..{BRANCH}").split() == [
        p.commit for p in record.patches
    ]
    assert git(repo, "log", "--reverse", "--format=%s", f"v5.2.0..{BRANCH}").splitlines() == [
        "test: patch 1",
        "test: patch 2",
    ]
    assert git(repo, "status", "--porcelain") == ""
    assert git(repo, "rev-parse", "--abbrev-ref", "HEAD") == "master"
    git(repo, "fsck", "--strict")


def test_diffstat_is_what_git_counts(repo: Path) -> None:
    record = apply(repo)
    for item in record.patches:
        rows = git(repo, "show", "--numstat", "--format=", item.commit).splitlines()
        assert sorted(rows) == sorted(f"{f.added}\t{f.removed}\t{f.path}" for f in item.files)


def test_bytes_that_are_not_utf8_stay(repo: Path) -> None:
    apply(repo)
    shown = subprocess.run(
        ["git", "show", f"{BRANCH}:util/odd.c"], cwd=repo, check=True, capture_output=True
    ).stdout
    assert shown == b"/* caf\xe9, not UTF-8 */\nvoid odd(void)\n{\n    two();\n}\n"


def test_second_run_is_unchanged_and_ids_repeat_elsewhere(repo: Path, tmp_path: Path) -> None:
    first = apply(repo)
    again = apply(repo)
    assert again.state is BranchState.UNCHANGED
    assert again.head == first.head
    other = apply(make_repo(tmp_path / "other place"))
    assert [p.commit for p in other.patches] == [p.commit for p in first.patches]


def test_dates_authors_and_trailers(repo: Path) -> None:
    base = base_of(repo)
    apply(repo, Wish(signoff=True))
    log = git(repo, "log", "--reverse", "--format=%at %ct %an %cn", f"v5.2.0..{BRANCH}")
    assert log.splitlines() == [
        f"{base.date + 1} {base.date + 1} Test User Test User",
        f"{base.date + 2} {base.date + 2} Test User Test User",
    ]
    body = git(repo, "log", "-1", "--format=%B", BRANCH)
    assert body.endswith(
        "Based-on-patch-by: Steve Sistare <steven.sistare@oracle.com>\n"
        f"Change-Id: {two_patches().entry(2).change_id}\n"
        "Patchgen: 02-patch\n"
        "Signed-off-by: Test User <test@example.org>"
    )
    apply(repo)
    assert "Signed-off-by" not in git(repo, "log", "--format=%B", f"v5.2.0..{BRANCH}")


def test_dry_run_writes_nothing(repo: Path) -> None:
    before = objects_and_refs(repo)
    record = apply(repo, Wish(dry_run=True, diff=True))
    assert objects_and_refs(repo) == before
    assert record.state is BranchState.DRY_RUN
    assert "+    prepare();" in record.diff
    assert apply(repo).head == record.head


def test_our_branch_is_replaced_and_its_old_id_told(repo: Path) -> None:
    first = apply(repo, what=Series(two_patches().about, two_patches().entries[:1], {}))
    second = apply(repo)
    assert second.state is BranchState.REPLACED
    assert second.previous == first.head


@pytest.mark.parametrize("how", ["foreign", "amended", "on-top"])
def test_what_users_made_needs_force(repo: Path, how: str) -> None:
    if how == "foreign":
        git(repo, "branch", BRANCH, "v5.2.0")
    else:
        apply(repo)
        git(repo, "checkout", "-q", BRANCH)
        if how == "amended":
            git(repo, "commit", "-q", "--amend", "--no-edit", date=1700000000)
        else:
            git(repo, "commit", "-q", "--allow-empty", "-m", "mine")
        git(repo, "checkout", "-q", "master")
    mine = git(repo, "rev-parse", BRANCH)
    with pytest.raises(ForeignBranch) as caught:
        apply(repo)
    assert "--force" in caught.value.fix
    assert git(repo, "rev-parse", BRANCH) == mine
    record = apply(repo, Wish(force=True))
    assert record.state is BranchState.REPLACED
    assert record.previous == mine


def test_a_branch_that_is_checked_out_stays(repo: Path) -> None:
    apply(repo, what=Series(two_patches().about, two_patches().entries[:1], {}))
    git(repo, "checkout", "-q", BRANCH)
    before = git(repo, "rev-parse", BRANCH)
    with pytest.raises(BranchCheckedOut):
        apply(repo, Wish(force=True))
    assert git(repo, "rev-parse", BRANCH) == before


def test_a_dirty_work_tree_is_no_error(repo: Path) -> None:
    (repo / "VERSION").write_text("mine\n", encoding="ascii")
    apply(repo)
    assert (repo / "VERSION").read_text(encoding="ascii") == "mine\n"


def test_worktree(repo: Path, tmp_path: Path) -> None:
    place = tmp_path / "a work tree"
    record = apply(repo, Wish(worktree=place))
    assert record.worktree == str(place)
    assert "prepare();" in (place / "softmmu/vl.c").read_text(encoding="ascii")
    # Once more: the same place, nothing to do.
    assert apply(repo, Wish(worktree=place)).state is BranchState.UNCHANGED


def test_worktree_never_uses_a_place_that_is_taken(repo: Path, tmp_path: Path) -> None:
    place = tmp_path / "taken"
    place.mkdir()
    (place / "file").write_text("mine", encoding="ascii")
    with pytest.raises(WorktreeInUse):
        apply(repo, Wish(worktree=place))
    assert (place / "file").read_text(encoding="ascii") == "mine"
    assert git(repo, "for-each-ref", "refs/heads/cpr") == ""


def test_no_identity(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.delenv(f"GIT_{who}_NAME")
        monkeypatch.delenv(f"GIT_{who}_EMAIL")
    monkeypatch.delenv("EMAIL", raising=False)
    with pytest.raises(NoIdentity) as caught:
        apply(repo)
    assert "git config" in caught.value.fix


def test_a_name_that_is_no_branch(repo: Path) -> None:
    for name in ("a..b", "HEAD"):
        with pytest.raises(UsageError):
            apply(repo, Wish(branch=name))


def test_a_date_that_git_does_not_take(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_AUTHOR_DATE", "yesterday's")
    with pytest.raises(NoIdentity) as caught:
        apply(repo)
    assert "GIT_AUTHOR_DATE" in caught.value.fix


def test_a_commit_by_a_word_that_is_no_name(repo: Path) -> None:
    base = base_of(repo, "HEAD~0")
    record = require_branch(base, two_patches(), True, Ui(quiet=True))
    assert record.branch == f"cpr/{base.commit[:12]}"
    assert git(repo, "rev-parse", record.branch) == record.head


def test_drift_writes_nothing_and_tells_all(repo: Path) -> None:
    good, bad = (
        two_patches().entries[1],
        patch(
            1,
            Edit(
                why="call it",
                file="softmmu/vl.c",
                at=At(function="main_lop"),
                insert=Insert(first="x();"),
            ),
        ),
    )
    before = objects_and_refs(repo)
    record = apply(repo, what=series(bad, good))
    assert record.state is BranchState.NOT_WRITTEN
    assert objects_and_refs(repo) == before
    (drift,) = record.drifts
    assert (drift.code, drift.patch, drift.file) == ("PG352", 1, "softmmu/vl.c")
    assert drift.candidates[0].name == "main_loop"
    assert record.patches[1].state is State.APPLIED


def test_already_there_makes_no_commit(repo: Path) -> None:
    apply(repo)
    git(repo, "tag", "v5.2.1", BRANCH)
    record = make_branch(base_of(repo, "v5.2.1"), two_patches(), Wish())
    assert [p.state for p in record.patches] == [State.ALREADY_THERE] * 2
    assert record.head == git(repo, "rev-parse", "v5.2.1")


def test_a_bare_and_a_shallow_repository(repo: Path, tmp_path: Path) -> None:
    wanted = apply(repo).head
    git(tmp_path, "clone", "-q", "--bare", str(repo), "bare.git")
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{repo}", "shallow")
    git(tmp_path / "shallow", "tag", "-f", "v5.2.0")
    git(tmp_path / "bare.git", "update-ref", "-d", f"refs/heads/{BRANCH}")
    for name in ("bare.git", "shallow"):
        assert apply(tmp_path / name).head == wanted
        assert apply(tmp_path / name, Wish(dry_run=True)).head == wanted


def test_a_base_with_a_mode(tmp_path: Path) -> None:
    repo = make_repo(tmp_path / "qemu")
    os.chmod(repo / "softmmu/vl.c", 0o755)  # noqa: PTH101
    git(repo, "commit", "-q", "-a", "-m", "mode")
    git(repo, "tag", "-f", "v5.2.0")
    apply(repo)
    assert git(repo, "ls-tree", BRANCH, "softmmu/vl.c").startswith("100755")


def test_a_step_that_needs_the_branch_makes_it_or_leaves_it_alone(repo: Path) -> None:
    ui = Ui(quiet=True)
    made = require_branch(base_of(repo), two_patches(), True, ui)
    assert git(repo, "rev-parse", BRANCH) == made.head
    # The same tree by somebody else stays that of somebody else.
    git(repo, "checkout", "-q", BRANCH)
    git(repo, "commit", "-q", "--amend", "-m", "mine", date=1700000000)
    mine = git(repo, "rev-parse", "HEAD")
    assert require_branch(base_of(repo), two_patches(), True, ui).tree == made.tree
    # Another tree that may not be replaced stays as well; a part of the series asks for no branch.
    (repo / "VERSION").write_text("mine\n", encoding="ascii")
    git(repo, "commit", "-q", "-a", "-m", "more")
    more = git(repo, "rev-parse", "HEAD")
    assert more != mine
    assert require_branch(base_of(repo), two_patches(), True, ui).head == made.head
    first = Series(two_patches().about, two_patches().entries[:1], {})
    part = require_branch(base_of(repo), first, False, ui)
    assert part.head == made.patches[0].commit
    assert git(repo, "rev-parse", BRANCH) == more


def test_a_step_that_needs_the_branch_tells_drift(repo: Path) -> None:
    bad = patch(1, Edit(why="x", file="none.c", at=At(function="f"), insert=Insert(first="x();")))
    with pytest.raises(DriftError):
        require_branch(base_of(repo), series(bad), True, Ui(quiet=True))
    assert git(repo, "for-each-ref", "refs/heads/cpr") == ""


def test_a_full_disk_leaves_the_repository_as_it_was(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = objects_and_refs(repo)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("patchgen.git.scratch.os.fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        apply(repo)
    monkeypatch.undo()
    assert objects_and_refs(repo) == before
    assert not list((repo / ".git").rglob("tmp_patchgen*"))


def test_a_second_run_adds_no_objects(repo: Path) -> None:
    apply(repo)
    before = objects_and_refs(repo)
    apply(repo)
    assert objects_and_refs(repo) == before


def test_preview_shows_the_last_patch_and_writes_nothing(repo: Path) -> None:
    before = objects_and_refs(repo)
    record, shown = preview(base_of(repo), two_patches())
    assert objects_and_refs(repo) == before
    assert record.state is State.APPLIED
    assert "+int new_file;" in shown
    assert "prepare" not in shown
