"""Fake QEMU trees, one per era: as small as the series allows, and nobody's text but ours.

A tree is described by :func:`describe`: path -> things. A thing has the name that anchors and
facts look for, and a body that makes no sense beyond its shape. What differs between the eras is
what the series' variants depend on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Era:
    """What the fragments' variants ask of a tree, and where its files are.

    :ivar hmp_error: the second parameter's type of hmp_handle_error()
    :ivar exports: whether query-block-exports lists what is exported
    :ivar find_has_errp: whether object_property_find() takes an Error **
    :ivar discards: whether devices that discard RAM tell so
    :ivar quit: the schema that has the command quit
    :ivar ticks: the file that stops the clock, and the header that says so
    :ivar gdb_pointer: whether functions of the gdb server are handed its state
    """

    name: str
    version: str
    build: str
    markup: str
    hmp_error: str
    exports: bool
    quit: str
    xen_header: str
    find_has_errp: bool
    discards: bool
    vl: str
    cpus: str
    physmem: str
    vfio: str
    ticks: tuple[str, str]
    gdb_pointer: bool

    @property
    def tag(self) -> str:
        """As QEMU names it."""
        return f"v{self.version}"


ERAS: Mapping[str, Era] = {
    era.name: era
    for era in (
        Era(
            "make-texinfo", "4.2.0", "make", "texinfo", "Error **", False, "misc",
            "hw/xen/xen.h", True, False, "vl.c", "cpus.c", "exec.c", "hw/vfio/pci.c",
            ("cpus.c", "qemu/timer.h"), True,
        ),
        Era(
            "make-rst", "5.1.0", "make", "rst", "Error *", False, "control",
            "sysemu/xen.h", True, True, "softmmu/vl.c", "softmmu/cpus.c", "exec.c", "hw/vfio/pci.c",
            ("softmmu/cpus.c", "qemu/timer.h"), False,
        ),
        Era(
            "meson", "5.2.0", "meson", "rst", "Error *", True, "control",
            "sysemu/xen.h", False, True, "softmmu/vl.c", "softmmu/cpus.c", "softmmu/physmem.c",
            "hw/vfio/migration.c", ("softmmu/cpu-timers.c", "sysemu/cpu-timers.h"), False,
        ),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Thing:
    """One thing of a file.

    :ivar name: what it is called by
    :ivar text: its lines
    :ivar tight: no blank line between it and a neighbour of that kind
    """

    name: str
    text: str
    tight: bool = False


Description = dict[str, list[Thing]]
#: A statement, or the head of a block with the statements in it
Statement = str | tuple["Statement", ...]


def include(*headers: str) -> list[Thing]:
    """Include lines; osdep.h comes first in every C file of QEMU."""
    return [Thing(header, f'#include "{header}"\n', tight=True) for header in headers]


def _lines(statements: tuple[Statement, ...], indent: str) -> Iterator[str]:
    for statement in statements:
        if isinstance(statement, str):
            yield f"{indent}{statement}\n" if statement else "\n"
            continue
        head, *body = statement
        yield f"{indent}{head} {{\n"
        yield from _lines(tuple(body), indent + "    ")
        yield indent + "}\n"


def function(head: str, *body: Statement) -> Thing:
    """A definition; *head* is all that stands before the brace."""
    return Thing(_called(head), f"{head}\n{{\n{''.join(_lines(body, '    '))}}}\n")


def prototype(head: str) -> Thing:
    """A declaration of a function."""
    return Thing(_called(head), f"{head};\n", tight=True)


def _called(head: str) -> str:
    found = re.search(r"(\w+)\(", head)
    assert found, head
    return found.group(1)


def table(head: str, *entries: str) -> Thing:
    """A variable with an initializer, one entry a line."""
    found = re.search(r"(\w+)(?:\[\])?$", head)
    assert found, head
    lines = "".join(f"    {entry},\n" for entry in entries)
    return Thing(found.group(1), f"{head} = {{\n{lines}}};\n")


def struct(name: str, *members: str, typedef: bool = False) -> Thing:
    """A struct, with a typedef of the same name if asked for."""
    lines = "".join(f"    {member};\n" for member in members)
    if typedef:
        return Thing(name, f"typedef struct {name} {{\n{lines}}} {name};\n")
    return Thing(name, f"struct {name} {{\n{lines}}};\n")


def variable(text: str) -> Thing:
    """A variable without an initializer in braces."""
    found = re.search(r"(\w+)(?: = [^;]*)?;$", text)
    assert found, text
    return Thing(found.group(1), text + "\n")


def header(guard: str, *things: Thing) -> list[Thing]:
    """A header's things between its guards."""
    opening = Thing(guard, f"#ifndef {guard}\n#define {guard}\n")
    return [opening, *things, Thing("", "#endif\n")]


def schema(kind: str, name: str, rest: str = "") -> Thing:
    """A definition of a QAPI schema, documented."""
    return Thing(
        name,
        f"##\n# @{name}:\n#\n# Something.\n#\n# Since: 1.0\n##\n{{ '{kind}': '{name}'{rest} }}\n",
    )


def hx(era: Era, name: str) -> list[Thing]:
    """A monitor command's entry and its documentation, which is apart from it."""
    fields = {"name": f'"{name}"', "args_type": '""', "help": '"do it"', "cmd": f"hmp_{name}"}
    lines = "".join(f"        .{key:<10} = {value},\n" for key, value in fields.items())
    doc = (
        f"STEXI\n@item {name}\n@findex {name}\nDo it.\nETEXI\n"
        if era.markup == "texinfo"
        else f"SRST\n``{name}``\n  Do it.\nERST\n"
    )
    return [Thing(name, f"    {{\n{lines}    }},\n"), Thing("", doc)]


def plain(name: str, text: str) -> list[Thing]:
    """A file, or a part of one, that is not worth more description."""
    return [Thing(name, text)]


def walk(
    head: str, *body: Statement, safe: bool = False, then: tuple[Statement, ...] = ()
) -> Thing:
    """A function that walks over the handlers of VM state, and *then* does something else."""
    macro, more = ("QTAILQ_FOREACH_SAFE", ", next") if safe else ("QTAILQ_FOREACH", "")
    variables = "SaveStateEntry *se, *next;" if safe else "SaveStateEntry *se;"
    loop = f"{macro}(se, &savevm_state.handlers, entry{more})"
    return function(head, variables, "", (loop, *(body or ("visit(se);",))), *then)


#: Walks that save or load; the eras have all of them.
SAVING = (
    "bool qemu_savevm_state_guest_unplug_pending(void)",
    "int qemu_savevm_state_iterate(QEMUFile *f, bool postcopy)",
    "int qemu_savevm_state_complete_precopy_iterable(QEMUFile *f)",
    "void qemu_savevm_state_pending(QEMUFile *f,\n                               uint64_t max)",
    "static int qemu_loadvm_state_setup(QEMUFile *f)",
)
#: Walks that tell others what goes on, when they are done; and what they tell
TELLING = {
    "void qemu_savevm_state_setup(QEMUFile *f)": "SETUP",
    "void qemu_savevm_state_cleanup(void)": "CLEANUP",
}
#: Walks that look after the list.
LOOKING = (
    "static SaveStateEntry *find_se(const char *idstr, int instance_id)",
    "static int calculate_new_instance_id(const char *idstr)",
)


def _telling(event: str) -> Statement:
    return (f"if (precopy_notify(PRECOPY_NOTIFY_{event}, &local_err))", "report(local_err);")


def _savevm(era: Era) -> list[Thing]:
    return [
        *include("qemu/osdep.h", "hw/boards.h", "migration/register.h", "migration/misc.h"),
        struct(
            "SaveState",
            "QTAILQ_HEAD(, SaveStateEntry) handlers",
            "int global_section_id",
            "uint32_t len",
            "QemuUUID uuid",
            typedef=True,
        ),
        table(
            "static SaveState savevm_state",
            ".handlers = QTAILQ_HEAD_INITIALIZER(savevm_state.handlers)",
            ".global_section_id = 0",
        ),
        function(
            "static bool should_validate_capability(int capability)",
            "assert(capability >= 0);",
            ("switch (capability)", "case 1:", "    return true;", "default:", "    return false;"),
        ),
        *(walk(head) for head in LOOKING),
        function(
            "static void savevm_state_handler_insert(SaveStateEntry *nse)",
            "SaveStateEntry *se;",
            "",
            ("QTAILQ_FOREACH(se, &savevm_state.handlers, entry)", ("if (se->n)", "break;")),
            "QTAILQ_INSERT_TAIL(&savevm_state.handlers, nse, entry);",
        ),
        walk("void unregister_savevm(void *opaque)", "drop(se);", safe=True),
        function(
            "bool qemu_savevm_state_blocked(Error **errp)",
            "SaveStateEntry *se;",
            "",
            (
                "QTAILQ_FOREACH(se, &savevm_state.handlers, entry)",
                (
                    "if (se->vmsd && se->vmsd->unmigratable)",
                    'error_setg(errp, "no: %s", se->idstr);',
                    "return true;",
                ),
            ),
            "return false;",
        ),
        *(walk(head) for head in SAVING),
        *(walk(head, then=(_telling(event),)) for head, event in TELLING.items()),
        function(
            "int qemu_savevm_state_complete_precopy(QEMUFile *f)",
            "Error *local_err = NULL;",
            "",
            _telling("COMPLETE"),
            "return qemu_savevm_state_complete_precopy_iterable(f);",
        ),
        function(
            "static int qemu_savevm_state(QEMUFile *f, Error **errp)",
            "MigrationState *ms = migrate_get_current();",
            "",
            "migrate_init(ms);",
            "ms->to_dst_file = f;",
            "return 0;",
        ),
        function("int qemu_savevm_live_state(QEMUFile *f)", "return one(f);"),
        function(
            "static int\nqemu_loadvm_section_start_full(QEMUFile *f)",
            "SaveStateEntry *se = find_se(f->id, 0);",
            "int version_id = get(f);",
            "",
            "/* Is it known? */",
            ("if (version_id > se->version_id)", "return -EINVAL;"),
            "return 0;",
        ),
        function(
            "static int\nqemu_loadvm_section_part_end(QEMUFile *f)",
            "SaveStateEntry *se;",
            "int ret;",
            "",
            "se = find_se(f->id, 0);",
            ("if (se == NULL)", "return -EINVAL;"),
            "ret = vmstate_load(f, se);",
            ("if (ret < 0)", "return ret;"),
            "return 0;",
        ),
        function(
            "int qemu_loadvm_state_main(QEMUFile *f)",
            "int ret = 0;",
            "",
            (
                "switch (f->type)",
                "case QEMU_VM_SECTION_FULL:",
                "    ret = qemu_loadvm_section_start_full(f);",
                "    break;",
                "case QEMU_VM_COMMAND:",
                "    ret = loadvm_process_command(f);",
                "    break;",
            ),
            "return ret;",
        ),
        function(
            "int load_snapshot(const char *name, Error **errp)",
            "QEMUFile *f;",
            "int ret;",
            "",
            "f = fetch(name);",
            "qemu_system_reset(SHUTDOWN_CAUSE_NONE);",
            "ret = qemu_loadvm_state(f);",
            "return ret;",
        ),
    ]  # fmt: skip


def _migration() -> list[Thing]:
    return [
        *include("qemu/osdep.h", "migration/blocker.h", "migration.h"),
        variable("static GSList *migration_blockers;"),
        function(
            "void migrate_init(MigrationState *s)",
            "/* From the start */",
            "s->bytes = 0;",
        ),
        function(
            "void migrate_fd_connect(MigrationState *s, Error *error_in)",
            "s->expected_downtime = 0;",
            ("if (error_in)", "return;"),
            "",
            'qemu_thread_create(&s->thread, "live", migration_thread, s);',
            "s->migration_thread_running = true;",
        ),
        function(
            "int migrate_add_blocker(Error *reason, Error **errp)",
            "migration_blockers = g_slist_prepend(migration_blockers, reason);",
            "return 0;",
        ),
        function(
            "void migrate_del_blocker(Error *reason)",
            "migration_blockers = g_slist_remove(migration_blockers, reason);",
        ),
        function(
            "bool migration_is_blocked(Error **errp)",
            ("if (qemu_savevm_state_blocked(errp))", "return true;"),
            "return migration_blockers != NULL;",
        ),
    ]


def _blocker(what: str, checked: str, has_local_err: bool, setup: str) -> Thing:
    errp = "&local_err" if has_local_err else "errp"
    locals_ = ("Error *local_err = NULL;",) if has_local_err else ()
    return function(
        f"int {setup}(Opaque *s, Error **errp)",
        *locals_,
        "int ret;",
        "",
        f"ret = migrate_add_blocker({what}, {errp});",
        (f"if ({checked})", f"error_free({what});", "goto fail;"),
        "return 0;",
        "",
        "fail:",
        "return ret;",
    )


def _block_driver(era: Era, name: str) -> list[Thing]:
    old = era.hmp_error == "Error **"
    return [
        *include("qemu/osdep.h", "migration/blocker.h"),
        _blocker("s->migration_blocker", "local_err" if old else "ret < 0", old, f"{name}_open"),
    ]


def _kvm() -> list[Thing]:
    return [
        *include("qemu/osdep.h", "migration/blocker.h"),
        variable("static Error *invtsc_mig_blocker;"),
        _blocker("hv_passthrough_mig_blocker", "local_err", True, "hyperv_init_vcpu"),
        _blocker("invtsc_mig_blocker", "local_err", True, "kvm_arch_init_vcpu"),
    ]


def _clock() -> list[Thing]:
    return [
        *include("qemu/osdep.h", "sysemu/kvm.h", "migration/vmstate.h"),
        struct("KVMClockState", "uint64_t clock", "bool clock_valid", "bool runstate_paused"),
        function(
            "static void kvmclock_vm_state_change(void *opaque, int running)",
            "KVMClockState *s = opaque;",
            "",
            ("if (running)", "s->clock_valid = false;", "set_clock(s);"),
            ("if (!running)", "s->runstate_paused = is_paused();", "s->clock_valid = true;"),
        ),
        function(
            "static int kvmclock_pre_save(void *opaque)",
            "KVMClockState *s = opaque;",
            "",
            ("if (!s->runstate_paused)", "kvm_update_clock(s);"),
            "return 0;",
        ),
        table(
            "static const VMStateDescription kvmclock_vmsd",
            '.name = "kvmclock"',
            ".pre_save = kvmclock_pre_save",
            ".subsections = (const VMStateDescription * []) {\n"
            "        &kvmclock_reliable_get_clock,\n"
            "        NULL\n"
            "    }",
        ),
    ]  # fmt: skip


def _ticks() -> list[Thing]:
    return [
        function("void cpu_enable_ticks(void)", "timers_state.cpu_ticks_enabled = 1;"),
        function("void cpu_disable_ticks(void)", "timers_state.cpu_ticks_enabled = 0;"),
    ]


def _gdbstub(era: Era) -> list[Thing]:
    state, parameter = ("s->", "GDBState *s") if era.gdb_pointer else ("gdbserver_state.", "void")
    also = parameter + ", " if era.gdb_pointer else ""
    context = "gdb_ctx->s->" if era.gdb_pointer else state
    return [
        *include("qemu/osdep.h", "sysemu/runstate.h"),
        variable("bool gdb_has_xml;"),
        function(
            f"static inline void gdb_continue({parameter})",
            ("if (!runstate_needs_reset())", "trace_gdbstub_op_continue();", "vm_start();"),
        ),
        function(
            f"static int gdb_continue_partial({also}char *newstates)",
            "int res = 0;",
            "",
            ("if (!runstate_needs_reset())", "res = each(newstates);"),
            "return res;",
        ),
        function(
            "static void handle_step(GdbCmdContext *gdb_ctx, void *user_ctx)",
            f"cpu_single_step({context}c_cpu, sstep_flags);",
            "go_on();",
        ),
        function(
            "static void gdb_vm_state_change(void *opaque, int running, RunState state)",
            f"CPUState *cpu = {state}c_cpu;",
            "",
            ("if (running)", "return;"),
            "put_packet(packet_of(state));",
            "cpu_single_step(cpu, 0);",
        ),
        function(
            f"static void gdb_read_byte({also}uint8_t ch)",
            (
                f"switch ({state}state)",
                "case RS_IDLE:",
                ("    if (ch == '$')", "    start_packet();"),
                "    break;",
                "default:",
                "    abort();",
            ),
        ),
        function(
            "static void gdb_chr_event(void *opaque, int event)",
            ("if (event == CHR_EVENT_OPENED)", "vm_stop(RUN_STATE_PAUSED);"),
        ),
        function(
            "static void gdb_sigterm_handler(int signal)",
            ("if (runstate_is_running())", "vm_stop(RUN_STATE_PAUSED);"),
        ),
        function(
            "int gdbserver_start(const char *device)",
            (
                "if (chr)",
                f"qemu_chr_fe_set_handlers(&{state}chr, gdb_chr_can_receive,"
                " gdb_chr_receive, gdb_chr_event, NULL, NULL, NULL, true);",
            ),
            "return 0;",
        ),
    ]  # fmt: skip


def _startup(era: Era) -> list[Thing]:
    """Two functions are called main() where main() itself starts QEMU."""
    old = era.vl == "vl.c"
    head = "int main" if old else "void qemu_init"
    return [
        *([function("int main(int argc, char **argv)", "return qemu_main(argc, argv);")] * old),
        function(
            "static const QEMUOption *lookup_opt(int argc, char **argv)",
            "const QEMUOption *popt = find(argv);",
            "",
            "return popt;",
        ),
        function(
            f"{head}(int argc, char **argv, char **envp)",
            "error_init(argv[0]);",
            "module_call_init(MODULE_INIT_TRACE);",
            (
                "for (;;)",
                (
                    "if (popt)",
                    (
                        "if (!(popt->arch_mask & arch_type))",
                        'error_report("Option not supported for this target");',
                        "exit(1);",
                    ),
                ),
            ),
            (
                "switch (lookup_opt(argc, argv)->index)",
                "case QEMU_OPTION_s:",
                '    add_device_config(DEV_GDB, "tcp::" DEFAULT_GDBSTUB_PORT);',
                "    break;",
                "case QEMU_OPTION_gdb:",
                "    add_device_config(DEV_GDB, optarg);",
                "    break;",
                "case QEMU_OPTION_S:",
                "    autostart = 0;",
                "    break;",
            ),
            "loc_set_none();",
            "os_setup_post();",
        ),
        function(
            "static MachineClass *select_machine(void)",
            "MachineClass *machine_class = find_default_machine();",
            "const char *optarg;",
            "",
            'optarg = qemu_opt_get(opts, "type");',
            ("if (optarg)", "machine_class = machine_parse(optarg);"),
            "",
            ("if (!machine_class)", "exit(1);"),
            "return machine_class;",
        ),
    ]


def _option(era: Era, name: str) -> list[Thing]:
    """An option's entry and its documentation."""
    start, end = ("STEXI", "ETEXI") if era.markup == "texinfo" else ("SRST", "ERST")
    head = f'DEF("{name}", 0, QEMU_OPTION_{name}, "-{name}\\n", QEMU_ARCH_ALL)\n'
    return [Thing(name, head, tight=True), Thing("", f"{start}\nDo it.\n{end}\n", tight=True)]


def _vl(era: Era) -> list[Thing]:
    return [
        *include("qemu/osdep.h", "qemu/cutils.h", "hw/boards.h", "migration/misc.h"),
        *include("migration/snapshot.h", "sysemu/runstate.h"),
        table(
            "static const RunStateTransition runstate_transitions_def[]",
            "{ RUN_STATE_PRELAUNCH, RUN_STATE_RUNNING }",
            "{ RUN_STATE_PRELAUNCH, RUN_STATE_INMIGRATE }",
            "{ RUN_STATE__MAX, RUN_STATE__MAX }",
        ),
        variable("static int wakeup_reason_mask = ~(1 << QEMU_WAKEUP_REASON_NONE);"),
        function(
            "void qemu_system_reset(ShutdownCause reason)",
            "MachineClass *mc;",
            "",
            "mc = current_machine ? MACHINE_GET_CLASS(current_machine) : NULL;",
            "",
            "cpu_synchronize_all_states();",
            ("if (mc)", "mc->reset(current_machine);"),
        ),
        function(
            "void qemu_system_wakeup_request(WakeupReason reason, Error **errp)",
            "trace_it(reason);",
            "",
            ("if (!runstate_check(RUN_STATE_SUSPENDED))", "return;"),
            ("if (!(wakeup_reason_mask & (1 << reason)))", "return;"),
            "runstate_set(RUN_STATE_RUNNING);",
            "wakeup_reason = reason;",
        ),
        function(
            "void qemu_system_killed(int signal, pid_t pid)",
            "shutdown_signal = signal;",
            "shutdown_pid = pid;",
        ),
        function(
            "static bool main_loop_should_exit(void)",
            "RunState r;",
            "",
            ("if (qemu_suspend_requested())", "qemu_system_suspend();"),
            ("if (qemu_vmstop_requested(&r))", "vm_stop(r);"),
            "return false;",
        ),
        *_startup(era),
    ]


def _cpus(era: Era) -> list[Thing]:
    return [
        *include("qemu/osdep.h", "monitor/monitor.h", "hw/nmi.h", "sysemu/runstate.h"),
        *(_ticks() if era.ticks[0] == era.cpus else ()),
        function(
            "int vm_prepare_start(void)",
            "RunState requested;",
            "",
            "qemu_vmstop_requested(&requested);",
            "",
            "/* The clock goes on, then the CPUs */",
            "cpu_enable_ticks();",
            "runstate_set(RUN_STATE_RUNNING);",
            "return 0;",
        ),
    ]


def _loader() -> list[Thing]:
    return [
        *include("qemu/osdep.h", "hw/loader.h"),
        struct("Rom", "char *name", "size_t datasize", "uint8_t *data", "int committed"),
        variable("typedef struct Rom Rom;"),
        function(
            "static void rom_reset(void *unused)",
            "Rom *rom;",
            "",
            (
                "QTAILQ_FOREACH(rom, &roms, next)",
                ("if (rom->data == NULL)", "continue;"),
                "put(rom);",
            ),
        ),
        function(
            "int rom_check_and_register_reset(void)",
            "qemu_register_reset(rom_reset, NULL);",
            "return 0;",
        ),
    ]


def _build_lists(era: Era) -> Description:
    if era.build == "meson":
        return {
            "meson.build": plain("project", "project('qemu', ['c'])\n"),
            "migration/meson.build": [
                Thing(
                    "softmmu_ss",
                    "softmmu_ss.add(files(\n  'channel.c',\n  'colo.c',\n  'fd.c',\n))\n",
                ),
                Thing(
                    "",
                    "specific_ss.add(when: 'CONFIG_SOFTMMU', if_true: files('rate.c', 'ram.c'))\n",
                ),
            ],
            "util/meson.build": plain("util_ss", "util_ss.add(files('osdep.c', 'cutils.c'))\n"),
            "tests/meson.build": plain("tests", "tests += {\n  'test-cutils': [],\n}\n"),
        }
    return {
        "Makefile.objs": plain("common-obj-y", "common-obj-y = migration/\n"),
        "migration/Makefile.objs": [
            Thing("", "common-obj-y += migration.o fd.o \\\n\tsavevm.o\n", tight=True),
            Thing("common-obj-y", "common-obj-y += colo.o colo-failover.o\n", tight=True),
            Thing("", "common-obj-$(CONFIG_RDMA) += rdma.o\n", tight=True),
        ],
        "Makefile.target": plain("obj-y", "obj-y += dump/\nobj-y += migration/ram.o\n"),
        "util/Makefile.objs": plain("util-obj-y", "util-obj-y = osdep.o cutils.o\n"),
        "tests/Makefile.include": [
            Thing("check-unit-y", "check-unit-y += tests/test-cutils$(EXESUF)\n"),
            Thing("test-util-obj-y", "test-util-obj-y = libqemuutil.a\n"),
        ],
    }


def _exports(era: Era) -> Description:
    if era.exports:
        return {
            "qapi/block-export.json": [
                schema("command", "query-block-exports", ", 'returns': 'any'")
            ]
        }
    return {
        "blockdev-nbd.c": [
            *include("qemu/osdep.h", "block/nbd.h"),
            variable("static NBDServerData *nbd_server;"),
            function("static void nbd_blockdev_client_closed(NBDClient *client)", "put(client);"),
        ],
        "include/block/nbd.h": header(
            "NBD_H", prototype("void nbd_server_start(SocketAddress *addr, Error **errp)")
        ),
    }


def _chardevs(era: Era) -> Description:
    """Character devices, and who reads from them."""
    ready = "be->chr_can_read && be->chr_can_read(be->opaque)"
    return {
        "include/chardev/char-fe.h": header(
            "CHAR_FE_H",
            struct("CharBackend", "Chardev *chr", "int fe_open"),
            prototype("void qemu_chr_fe_accept_input(CharBackend *be)"),
        ),
        "include/chardev/char.h": header(
            "CHAR_H",
            struct("Chardev", "char *label", "int logfd"),
            prototype("int qemu_chr_be_can_write(Chardev *s)"),
            struct("ChardevClass", "int (*chr_machine_done)(Chardev *chr)"),
        ),
        "chardev/char.c": [
            *include("qemu/osdep.h", "qemu/cutils.h"),
            function("static void char_init(Object *obj)", "chr->logfd = -1;"),
            function("int qemu_chr_be_can_write(Chardev *s)", "return s->be != NULL;"),
            function(
                "static void qemu_char_open(Chardev *chr, ChardevCommon *common)",
                "int flags = O_WRONLY | O_TRUNC;",
                "",
                "chr->logfd = qemu_open(common->logfile, flags, 0666);",
            ),
        ],
        "chardev/char-file.c": [
            *include("qemu/osdep.h", "qapi/error.h"),
            function(
                "static void qmp_chardev_open_file(Chardev *chr, ChardevFile *file)",
                "int flags, out;",
                "",
                "flags = O_WRONLY | O_TRUNC;",
                "out = qmp_chardev_open_file_source(file->out, flags, errp);",
            ),
        ],
        "chardev/char-mux.c": [
            *include("qemu/osdep.h", "qemu/module.h"),
            function(
                "static void mux_chr_accept_input(Chardev *chr)",
                (f"while (be && d->prod[m] != d->cons[m] && {ready})", "take(be);"),
            ),
            function(
                "static int mux_chr_can_read(void *opaque)",
                ("if (d->prod[m] - d->cons[m] < MUX_BUFFER_SIZE)", "return 1;"),
                "",
                ("if (be && be->chr_can_read)", "return be->chr_can_read(be->opaque);"),
                "",
                "return 0;",
            ),
            function(
                "static void mux_chr_read(void *opaque, const uint8_t *buf, int size)",
                (f"if (d->prod[m] == d->cons[m] && be && {ready})", "take(be);"),
            ),
            function(
                "static void mux_chr_update_read_handlers(Chardev *chr)",
                "MuxChardev *d = MUX_CHARDEV(chr);",
                "",
                "qemu_chr_fe_set_handlers_full(&d->chr, mux_chr_can_read, mux_chr_read);",
            ),
        ],
        "chardev/char-socket.c": [
            *include("qemu/osdep.h"),
            struct("SocketChardev", "bool is_listen", "bool is_websock"),
            function(
                "static void qmp_chardev_open_socket(Chardev *chr, ChardevSocket *sock)",
                "bool is_listen = sock->server;",
                "bool is_waitconnect = sock->wait;",
                "",
                "s->is_listen = is_listen;",
            ),
            function(
                "static void char_socket_class_init(ObjectClass *oc, void *data)",
                "cc->chr_update_read_handler = tcp_chr_update_read_handler;",
            ),
        ],
        "include/monitor/monitor.h": header(
            "MONITOR_H", prototype("int monitor_suspend(Monitor *mon)")
        ),
        "monitor/monitor.c": [
            *include("qemu/osdep.h"),
            function("void monitor_data_init(Monitor *mon, bool is_qmp)", "mon->is_qmp = is_qmp;"),
            function("void monitor_list_append(Monitor *mon)", "append(mon);"),
        ],
        "monitor/monitor-internal.h": header(
            "MONITOR_INTERNAL_H",
            variable(
                "extern QEMUBH *qmp_dispatcher_bh;"
                if era.build == "make"
                else "extern Coroutine *qmp_dispatcher_co;"
            ),
            prototype("int monitor_can_read(void *opaque)"),
        ),
        "monitor/qmp.c": [
            *include("qemu/osdep.h"),
            function(
                "static QMPRequest *monitor_qmp_requests_pop_any_with_lock(void)",
                "QMPRequest *req_obj = NULL;",
                "",
                "qemu_mutex_lock(&monitor_lock);",
                "return req_obj;",
            ),
            function("static void handle_qmp_command(void *opaque, QObject *req)", "push(req);"),
        ],
        "util/log.c": [
            *include("qemu/osdep.h", "qemu/cutils.h"),
            function(
                "void qemu_set_log(int log_flags)",
                'logfile->fd = fopen(logfilename, log_append ? "a" : "w");',
                ("if (!logfile->fd)", "_exit(1);"),
            ),
        ],
    }


def _ram(era: Era) -> Description:
    """RAM blocks, and what they are made of."""
    errp = ", &error_abort" if era.hmp_error == "Error **" else ""
    errp_type = ",\n                                    Error **errp" if errp else ""
    old = era.vl == "vl.c"
    block = struct("RAMBlock", "uint8_t *host", "int fd", "size_t page_size")
    return {
        f"include/exec/{'ram_addr' if old else 'ramblock'}.h": header("RAMBLOCK_H", block),
        "include/hw/boards.h": header(
            "BOARDS_H",
            prototype("bool machine_dump_guest_core(MachineState *machine)"),
            struct("MachineState", "bool dump_guest_core"),
        ),
        "hw/core/machine.c": [
            *include("qemu/osdep.h"),
            function("static bool machine_get_mem_merge(Object *obj)", "return merge(obj);"),
            function(
                "static void machine_class_init(ObjectClass *oc, void *data)",
                'object_class_property_add_bool(oc, "mem-merge",\n'
                f"        machine_get_mem_merge, machine_set_mem_merge{errp});",
            ),
            function("bool machine_dump_guest_core(MachineState *m)", "return m->dump_guest_core;"),
        ],
        "backends/hostmem.c": [
            *include("qemu/osdep.h", "hw/boards.h"),
            function(
                "static void host_memory_backend_memory_complete(UserCreatable *uc)",
                ("if (backend->prealloc)", "touch(backend);"),
            ),
        ],
        "backends/hostmem-memfd.c": [
            *include("qemu/osdep.h", "sysemu/hostmem.h"),
            function(
                "static void memfd_backend_memory_alloc(HostMemoryBackend *backend)",
                "char *name;",
                "int fd;",
                "",
                "fd = qemu_memfd_create(TYPE_MEMORY_BACKEND_MEMFD, backend->size);",
                "memory_region_init_ram_from_fd(&backend->mr, fd);",
                "g_free(name);",
            ),
        ],
        "include/qom/object.h": header(
            "OBJECT_H",
            prototype(
                "void object_class_property_add_bool(ObjectClass *klass, const char *name,\n"
                f"                                    bool (*get)(Object *, Error **){errp_type})"
            ),
        ),
    }


def _util() -> Description:
    """The names of madvise() and descriptors' flags."""
    name = "QEMU_MADV_WILLNEED "
    return {
        "include/qemu/osdep.h": header(
            "OSDEP_H",
            Thing(
                "CONFIG_MADVISE",
                f"#if defined(CONFIG_MADVISE)\n#define {name} MADV_WILLNEED\n#ifdef MADV_REMOVE\n"
                "#define QEMU_MADV_REMOVE MADV_REMOVE\n#else\n"
                "#define QEMU_MADV_REMOVE QEMU_MADV_INVALID\n#endif\n"
                f"#elif defined(CONFIG_POSIX_MADVISE)\n#define {name} POSIX_MADV_WILLNEED\n"
                f"#else\n#define {name} QEMU_MADV_INVALID\n#endif\n",
            ),
            prototype("void qemu_set_cloexec(int fd)"),
        ),
        **{
            f"util/oslib-{host}.c": [
                *include("qemu/osdep.h"),
                function("void qemu_set_cloexec(int fd)"),
            ]
            for host in ("posix", "win32")
        },
    }


def describe(era: Era) -> Description:
    """The tree of an era: path -> its things, in order."""
    find = ",\n                                     Error **errp" if era.find_has_errp else ""
    handlers = {
        "migration/ram.c": "savevm_ram_handlers",
        "migration/block.c": "savevm_block_handlers",
        "migration/block-dirty-bitmap.c": "savevm_dirty_bitmap_handlers",
    }
    osdep = include("qemu/osdep.h")
    ignored = function(
        "bool ramblock_is_ignored(RAMBlock *block)",
        "return !qemu_ram_is_migratable(block) || "
        "(migrate_ignore_shared() && qemu_ram_is_shared(block));",
    )
    return {
        "VERSION": plain("version", era.version + "\n"),
        **_util(),
        **_chardevs(era),
        **(ram := _ram(era)),
        **_build_lists(era),
        **_exports(era),
        "MAINTAINERS": [
            Thing("Block layer", "Block layer\nM: A <a@example.org>\nF: block/\n"),
            Thing("Migration", "Migration\nM: B <b@example.org>\nF: migration/\n"),
            Thing("Tracing", "Tracing\nM: C <c@example.org>\nF: trace/\n"),
        ],
        "migration/savevm.c": _savevm(era),
        "migration/savevm.h": header(
            "MIGRATION_SAVEVM_H",
            prototype("bool qemu_savevm_state_blocked(Error **errp)"),
            prototype("int qemu_savevm_live_state(QEMUFile *f)"),
        ),
        "migration/migration.c": _migration(),
        "migration/migration.h": header(
            "QEMU_MIGRATION_H", prototype("bool migration_is_blocked(Error **errp)")
        ),
        **{
            path: [
                *osdep,
                *([ignored] if path == "migration/ram.c" else ()),
                table(f"static SaveVMHandlers {name}", ".save_setup = do_setup"),
            ]
            for path, name in handlers.items()
        },
        "include/migration/vmstate.h": header(
            "QEMU_VMSTATE_H",
            struct("VMStateDescription", "const char *name", "int unmigratable", "int version_id"),
        ),
        "include/migration/register.h": header(
            "MIGRATION_REGISTER_H",
            struct("SaveVMHandlers", "void (*save_state)(QEMUFile *f, void *o)", typedef=True),
        ),
        "include/migration/blocker.h": header(
            "MIGRATION_BLOCKER_H",
            Thing(
                "migrate_del_blocker",
                "/**\n * Undo it\n */\nvoid migrate_del_blocker(Error *reason);\n",
            ),
        ),
        "stubs/migr-blocker.c": [
            *include("qemu/osdep.h", "migration/blocker.h"),
            function("int migrate_add_blocker(Error *reason, Error **errp)", "return 0;"),
            function("void migrate_del_blocker(Error *reason)"),
        ],
        **{
            f"block/{name}.c": _block_driver(era, name)
            for name in ("parallels", "qcow", "vdi", "vhdx", "vmdk", "vpc")
        },
        era.vfio: [
            *osdep,
            _blocker("vdev->migration_blocker", "ret", False, "vfio_realize"),
        ],
        "target/i386/kvm.c": _kvm(),
        era.vl: _vl(era),
        era.cpus: _cpus(era),
        **({era.ticks[0]: [*osdep, *_ticks()]} if era.ticks[0] != era.cpus else {}),
        f"include/{era.ticks[1]}": header("TICKS_H", prototype("void cpu_disable_ticks(void)")),
        "hw/i386/kvm/clock.c": _clock(),
        "gdbstub.c": _gdbstub(era),
        "qemu-options.hx": [*_option(era, "preconfig"), *_option(era, "S")],
        era.physmem: [
            *include("qemu/osdep.h", "qemu/cutils.h", "exec/memory.h"),
            function("bool qemu_ram_is_shared(RAMBlock *rb)", "return rb->flags & RAM_SHARED;"),
            function(
                "static void ram_block_add(RAMBlock *new_block, Error **errp, bool shared)",
                "RAMBlock *block;",
                "",
                "new_block->offset = find_ram_offset(new_block->max_length);",
                (
                    "if (xen_enabled())",
                    "xen_ram_alloc(new_block->offset, new_block->max_length, new_block->mr);",
                ),
                "new_block->host = phys_mem_alloc(new_block->max_length, shared);",
                ("if (!new_block->host)", 'error_setg_errno(errp, errno, "no");', "return;"),
                "memory_try_enable_merging(new_block->host, new_block->max_length);",
            ),
        ],
        "include/exec/cpu-common.h": header(
            "CPU_COMMON_H",
            prototype("bool qemu_ram_is_shared(RAMBlock *rb)"),
            prototype("int qemu_ram_foreach_block(RAMBlockIterFunc func, void *opaque)"),
        ),
        "include/exec/memory.h": header(
            "MEMORY_H",
            Thing("CONFIG_USER_ONLY", "#ifndef CONFIG_USER_ONLY\n"),
            prototype("void mtree_info(void)"),
            *([prototype("bool ram_block_discard_is_required(void)")] if era.discards else ()),
            Thing("", "#endif\n"),
        ),
        "include/hw/loader.h": header(
            "LOADER_H", prototype("int rom_check_and_register_reset(void)")
        ),
        "hw/core/loader.c": _loader(),
        "hw/core/generic-loader.c": [
            *include("qemu/osdep.h", "hw/core/generic-loader.h"),
            function(
                "static void generic_loader_reset(void *opaque)",
                "GenericLoaderState *s = GENERIC_LOADER(opaque);",
                "",
                (
                    "if (s->data_len)",
                    "dma_memory_write(s->cpu->as, s->addr, &s->data, s->data_len);",
                ),
            ),
        ],
        "include/sysemu/runstate.h": header(
            "SYSEMU_RUNSTATE_H",
            prototype("void qemu_system_wakeup_request(WakeupReason reason, Error **errp)"),
            prototype("bool qemu_vmstop_requested(RunState *r)"),
        ),
        "include/hw/acpi/acpi.h": header(
            "ACPI_H", prototype("void acpi_pm1_evt_reset(ACPIREGS *ar)")
        ),
        "hw/acpi/core.c": [
            *osdep,
            function("static void acpi_pm1_evt_write_en(ACPIREGS *ar, uint16_t val)", "set(val);"),
            function("void acpi_pm1_evt_reset(ACPIREGS *ar)", "clear(ar);"),
        ],
        **{
            f"hw/acpi/{path}.c": [
                *osdep,
                function(f"static int {head}(void *opaque)", f"{call}(opaque);", "return 0;"),
            ]
            for path, head, call in (
                ("ich9", "ich9_pm_post_load", "ich9_pm_iospace_update"),
                ("piix4", "vmstate_acpi_post_load", "smbus_io_space_update"),
            )
        },
        "dump/dump.c": [
            *include("qemu/osdep.h", "sysemu/cpus.h"),
            function("void qmp_dump_guest_memory(bool paging, Error **errp)", "run(paging);"),
        ],
        "monitor/qmp-cmds.c": [
            *include("qemu/osdep.h", "chardev/char.h"),
            function("void qmp_cont(Error **errp)", "BlockBackend *blk;", "", "blk = all();"),
        ],
        "monitor/hmp-cmds.c": [
            *include("qemu/osdep.h", "monitor/hmp.h"),
            function(
                "void hmp_delvm(Monitor *mon, const QDict *qdict)",
                "Error *err = NULL;",
                "",
                "drop(qdict, &err);",
                f"hmp_handle_error(mon, {'&err' if era.hmp_error == 'Error **' else 'err'});",
            ),
        ],
        "include/monitor/hmp.h": header(
            "HMP_H",
            prototype(f"void hmp_handle_error(Monitor *mon, {era.hmp_error}err)"),
            prototype("void hmp_migrate_cancel(Monitor *mon, const QDict *qdict)"),
        ),
        "hmp-commands.hx": [*hx(era, "savevm"), *hx(era, "delvm"), *hx(era, "migrate")],
        "qapi/migration.json": [schema("command", "migrate", ", 'data': { 'uri': 'str' }")],
        f"qapi/{era.quit}.json": [schema("command", "quit")],
        f"include/{era.xen_header}": header("XEN_H", Thing("", "#define xen_enabled() (0)\n")),
        "include/qom/object.h": [
            *ram["include/qom/object.h"],
            prototype(f"ObjectProperty *object_property_find(Object *obj, const char *name{find})"),
        ],
    }


def render(description: Description) -> dict[str, bytes]:
    """The tree's files."""
    return {path: file_text(things).encode("latin-1") for path, things in description.items()}


def file_text(things: list[Thing]) -> str:
    """A file's text: a blank line between things, unless both are tight."""
    text = ""
    for before, thing in zip([None, *things], things, strict=False):
        gap = before is not None and not (before.tight and thing.tight)
        text += "\n" * gap + thing.text
    return text


def fake_tree(era: Era) -> dict[str, bytes]:
    """The files of an era's tree."""
    return render(describe(era))


def changed(
    description: Description, path: str, change: Callable[[Thing], Thing | None]
) -> Description:
    """The description with each thing of a file changed, or dropped for ``None``."""
    things = [new for thing in description[path] if (new := change(thing)) is not None]
    return {**description, path: things}


def reworded(
    description: Description, path: str, old: str, new: str, inside: str = ""
) -> Description:
    """The description with *old* spelled *new* in a file's thing called *inside*, or in all.

    *old* may not start or end inside of a word.
    """
    spelled = re.compile(rf"(?<!\w){re.escape(old)}(?!\w)")

    def change(thing: Thing) -> Thing:
        if inside not in ("", thing.name):
            return thing
        return replace(
            thing,
            name=spelled.sub(lambda _: new, thing.name),
            text=spelled.sub(lambda _: new, thing.text),
        )

    return changed(description, path, change)
