"""Every error that a user can meet, as one tree.

    PatchgenError
    |-- UserError      exit 2   what was asked, or what is at hand, does not allow it
    |   |-- RepoError       PG1xx  repositories, refs, branches, identity
    |   |-- OutputError     PG13x  directories that results go to
    |   |-- SourceError     PG2xx  where QEMU's sources come from
    |   `-- SeriesError     PG3xx  series files, fragments, facts (the project's own data)
    |-- DriftError     exit 3   an anchor of the series is not in this tree as expected (PG35x)
    |-- BuildError     exit 4   configure or the compiler failed, something is missing (PG4xx)
    |-- CheckError     exit 5   a check failed (PG5xx)
    |-- Interrupted    exit 130 Ctrl-C, SIGTERM or SIGHUP (PG6xx)
    `-- InternalError  exit 1   a bug in patchgen (PG9xx)

An error is one line of message and one line of fix. Codes are stable: they are never reused.
"""

from __future__ import annotations

from typing import ClassVar


class PatchgenError(Exception):
    """Base of all errors shown to a user.

    :ivar code: stable identifier, ``PG`` and three digits
    :ivar message: what happened, one line
    :ivar fix: what to do about it, one line
    :ivar detail: more lines that help (the end of a log, candidates), may be empty
    """

    code: ClassVar[str] = "PG900"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, fix: str, detail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix
        self.detail = detail


class UserError(PatchgenError):
    """What was asked, or what is at hand, does not allow it."""

    code = "PG100"
    exit_code = 2


class UsageError(UserError):
    """The command line is not one that patchgen understands."""

    code = "PG101"


class ConfigError(UserError):
    """The configuration file or an environment variable is malformed."""

    code = "PG102"


class CacheError(UserError):
    """The cache directory cannot be used."""

    code = "PG103"


class StorageError(UserError):
    """A file cannot be read or written: no room, no permission, or something else in its place."""

    code = "PG104"


# --- repositories: PG11x ----------------------------------------------------------------------


class RepoError(UserError):
    """Something about the git repository."""

    code = "PG110"


class NotARepo(RepoError):
    """The path given is no git repository and no QEMU tree."""

    code = "PG111"


class NotQemu(RepoError):
    """The commit is not one of QEMU's sources."""

    code = "PG112"


class UnknownTag(RepoError):
    """No place that was asked has the tag, branch or commit."""

    code = "PG113"


class NoIdentity(RepoError):
    """git has no name or e-mail address for the author of the commits."""

    code = "PG114"


class ForeignBranch(RepoError):
    """A branch of that name exists and holds something that patchgen did not make."""

    code = "PG115"


class BranchCheckedOut(RepoError):
    """The branch to be replaced is checked out in a work tree."""

    code = "PG116"


class WorktreeInUse(RepoError):
    """The directory for --worktree exists already."""

    code = "PG117"


class GitFailed(RepoError):
    """A git command failed in a way that no other code describes."""

    code = "PG118"


class WouldLoseWork(RepoError):
    """The branch changed while patchgen was at work."""

    code = "PG120"


class GitMissing(RepoError):
    """git is not installed."""

    code = "PG119"


class RepoLocked(GitFailed):
    """A lock file of git's is in the way."""

    code = "PG121"


class ObjectsMissing(GitFailed):
    """The repository lacks a part of the commit: a partial clone, or a damaged one."""

    code = "PG122"


class RepoDamaged(GitFailed):
    """git cannot read what the repository says that it has."""

    code = "PG123"


# --- output: PG13x ----------------------------------------------------------------------------


class OutputError(UserError):
    """The directory for the output cannot be written."""

    code = "PG130"


class ForeignFile(OutputError):
    """A file that would be overwritten is not one that patchgen wrote."""

    code = "PG131"


class NothingToExport(OutputError):
    """The tree has all that the patches bring, so there is no mail."""

    code = "PG132"


class UnknownVersion(UserError):
    """No such version of the mails was exported from this repository."""

    code = "PG133"


class NotAnAuthor(UserError):
    """Commits in the name of the series' authors are only for those authors themselves."""

    code = "PG134"


class BadMailbox(UserError):
    """The file is no mailbox, or holds no mail."""

    code = "PG135"


class ReviewsError(UserError):
    """The file of kept review trailers is malformed."""

    code = "PG136"


# --- sources: PG2xx ---------------------------------------------------------------------------


class SourceError(UserError):
    """Something about the place that QEMU's sources come from."""

    code = "PG200"


class SourceUnavailable(SourceError):
    """No place that was tried has the sources of that version."""

    code = "PG201"


class BadArchive(SourceError):
    """A source archive is damaged or holds what it must not hold."""

    code = "PG202"


# --- series, fragments, drift: PG3xx ----------------------------------------------------------


class SeriesError(UserError):
    """A file of the series is malformed."""

    code = "PG300"


class UnknownPatch(SeriesError):
    """The series has no patch of that number."""

    code = "PG301"


class FragmentError(SeriesError):
    """A fragment is missing or cannot be rendered."""

    code = "PG302"


class FactError(SeriesError):
    """A condition names a fact that does not exist."""

    code = "PG303"


class NoPin(SeriesError):
    """No pin is known that the tree could be compared with."""

    code = "PG304"


class DriftError(PatchgenError):
    """At least one anchor is not in this tree as the series expects."""

    code = "PG350"
    exit_code = 3


# --- build: PG4xx -----------------------------------------------------------------------------


class BuildError(PatchgenError):
    """The tree could not be configured or compiled."""

    code = "PG400"
    exit_code = 4


class ToolMissing(BuildError):
    """A command that the build needs (compiler, make, ninja, python) is not installed."""

    code = "PG401"


class LibraryMissing(BuildError):
    """configure misses a library or its headers."""

    code = "PG402"


class FeatureMissing(BuildError):
    """configure succeeded, and left out a feature of the named set."""

    code = "PG403"


class ConfigureFailed(BuildError):
    """configure failed in a way that no other code describes."""

    code = "PG404"


class CompileFailed(BuildError):
    """make or ninja failed."""

    code = "PG405"


class ModuleMissing(BuildError):
    """The content of a git submodule that the build needs is at no place that was asked."""

    code = "PG406"


class MesonMissing(BuildError):
    """The pinned meson of this QEMU is not at hand and cannot be installed."""

    code = "PG407"


class UnknownEra(BuildError):
    """The tree is built in no way that qemu-ref/eras describes."""

    code = "PG408"


class PatchBroken(BuildError):
    """A commit of the series does not compile, in a clean build directory either."""

    code = "PG409"


# --- checks: PG5xx ----------------------------------------------------------------------------


class CheckError(PatchgenError):
    """A check of the built binary failed."""

    code = "PG500"
    exit_code = 5


class GateUnavailable(CheckError):
    """A gate of `export` cannot be run here."""

    code = "PG510"


# --- asked to end: PG6xx ----------------------------------------------------------------------


class Interrupted(PatchgenError):
    """Ctrl-C, SIGTERM or SIGHUP ended the command."""

    code = "PG600"
    exit_code = 130


# --- internal: PG9xx --------------------------------------------------------------------------


class InternalError(PatchgenError):
    """A bug in patchgen."""

    code = "PG900"
    exit_code = 1
