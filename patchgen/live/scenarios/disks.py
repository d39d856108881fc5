"""What belongs to disks but dies with the process refuses ``cprsave``; their formats do not."""

from __future__ import annotations

from patchgen.live.machine import Machine
from patchgen.live.refusal import VOLATILE, refused
from patchgen.live.scenario import scenario
from patchgen.live.stage import SHARED, Stage
from patchgen.live.waiting import require, until

FORMATS = ("qcow", "vdi", "vmdk", "vhdx", "vpc", "parallels")
"""Formats that block migration, because two hosts would cache what one of them changes."""


def _add_node(machine: Machine, name: str, form: str, file: str, **options: object) -> None:
    below = {"driver": "file", "filename": file}
    machine.execute("blockdev-add", node_name=name, driver=form, file=below, **options)


def _jobs_end(machine: Machine) -> None:
    until(lambda: not machine.execute("query-block-jobs"), "the job does not end")


@scenario(
    "refuses-what-dies-with-the-process",
    "temporary disks, jobs, exports and bitmaps refuse while they are there; then cprsave works",
)
def transient(stage: Stage) -> None:
    stage.disk("source", "qcow2")
    stage.disk("target", "raw")
    stage.disk("overlaid", "qcow2")
    machine = stage.start()
    before = machine.wait_counting()
    _add_node(machine, "source", "qcow2", "source")
    _add_node(machine, "target", "raw", "target")

    with stage.telling("snapshot=on"):
        machine.human("drive_add 0 if=none,id=over,file=overlaid,format=qcow2,snapshot=on")
        temporary = "is temporary (snapshot=on or -snapshot)"
        refused(stage, machine, f"'over' {temporary}", temporary)
        machine.human("drive_del over")

    with stage.telling("a dirty bitmap"):
        machine.execute("block-dirty-bitmap-add", node="source", name="lost")
        machine.execute("block-dirty-bitmap-add", node="source", name="kept", persistent=True)
        refused(stage, machine, "dirty bitmap 'lost' of block node 'source' is not persistent")
        machine.execute("block-dirty-bitmap-remove", node="source", name="lost")

    with stage.telling("a job"):
        machine.execute(
            "blockdev-mirror", job_id="job0", device="source", target="target", sync="full"
        )
        machine.qmp.wait_event("BLOCK_JOB_READY")
        refused(stage, machine, "job 'job0' has not ended")
        machine.execute("block-job-cancel", device="job0")
        _jobs_end(machine)

    with stage.telling("an export"):
        machine.execute("nbd-server-start", addr={"type": "unix", "data": {"path": "nbd"}})
        machine.execute("nbd-server-add", device="source")
        commands = {one["name"] for one in machine.execute("query-commands")}
        known = "query-block-exports" in commands
        export = "block node 'source' is exported as 'source'"
        refused(stage, machine, export if known else "the NBD server is running")
        machine.execute("nbd-server-stop")

    machine.counts_on(before)
    file = stage.file()
    machine.save(file)
    saved = machine.page()
    second = stage.start("-S")
    second.load(file)
    second.goes_on(saved)
    _add_node(second, "source", "qcow2", "source")
    (node,) = (
        one for one in second.execute("query-named-block-nodes") if one["node-name"] == "source"
    )
    require(
        [one["name"] for one in node.get("dirty-bitmaps", [])] == ["kept"],
        "the persistent bitmap was not kept",
    )


@scenario(
    "refuses-writable-vvfat",
    "vvfat that can be written keeps its changes in a temporary image and refuses; read-only not",
)
def vvfat(stage: Stage) -> None:
    stage.file("directory").mkdir()
    machine = stage.start()
    before = machine.wait_counting()
    node = {"driver": "vvfat", "dir": "directory"}
    machine.execute("blockdev-add", node_name="fat", rw=True, **node)
    refused(stage, machine, "The vvfat (rw) format used by node 'fat'")
    machine.goes_on(before)
    # Whoever removes the node crashes in 4.2, be it blockdev-del or the exit.
    machine.close()
    stage.forget_ram()

    machine = stage.start()
    machine.wait_counting()
    machine.execute("blockdev-add", node_name="fat", read_only=True, **node)
    file = stage.file()
    machine.save(file)
    saved = machine.page()
    second = stage.start("-S")
    second.load(file)
    second.goes_on(saved)


@scenario(
    "saves-with-formats-that-block-migration",
    "qcow, vdi, vmdk, vhdx, vpc and parallels block migration, but neither cprsave nor cprload",
)
def formats(stage: Stage) -> None:
    file = stage.file()
    machine = stage.start()
    machine.wait_counting()
    for form in FORMATS:
        stage.disk(form, form)
        with stage.telling(form):
            _add_node(machine, form, form, form)
            said = machine.refusal("migrate", uri="exec:cat > /dev/null")
            require(f"'{form}'" in said, f"it does not block migration: {said}")
            # The exemption goes with the blocker, and comes again with the next one.
            machine.execute("blockdev-del", node_name=form)
    for form in FORMATS:
        _add_node(machine, form, form, form)
    machine.save(file)
    saved = machine.page()
    words = [
        word
        for form in FORMATS
        for word in ("-drive", f"if=none,id={form},format={form},file={form}")
    ]
    second = stage.start("-S", *words)
    second.refusal("migrate", uri="exec:cat > /dev/null")
    second.load(file)
    second.goes_on(saved)


@scenario(
    "refuses-with-all-reasons",
    "one error lists everything that is in the way: RAM, disks, devices and blockers",
)
def all_reasons(stage: Stage) -> None:
    stage.file("directory").mkdir()
    words = ["-snapshot", "-device", "VGA", "-device", "amd-iommu"]
    words += ["-object", "memory-backend-file,id=peer,size=1M,mem-path=peer,share=on"]
    words += ["-device", "ivshmem-plain,memdev=peer"]
    machine = stage.start(*words, machine="q35", memory=SHARED.replace("share=on", "share=off"))
    machine.watch_by_monitor()
    before = machine.wait_counting()
    refused(
        stage,
        machine,
        "block node 'boot' is temporary (snapshot=on or -snapshot)",
        "is temporary (snapshot=on or -snapshot)",
        VOLATILE + "ram, vga.vram",
        "device 'amd-iommu' cannot be saved",
        "'peer mode' in device 'ivshmem'",
    )
    machine.goes_on(before)
