/* The one table of what tangram understands. */
#include "cli/args.h"
#include "base/cleanup.h"
#include "cli/cli.h"

#define STATES "queued cutting active releasing released expired rejected lost"

const struct cli_option cli_options[] = {
    {OPT_SOCKET, 0, "socket", "PATH", "the daemon's socket (TANGRAM_SOCKET)", HINT_FILE, NULL, true,
     false},
    {OPT_COLOR, 0, "color", "WHEN", "auto, always or never (NO_COLOR)", HINT_WORDS,
     "auto always never", true, false},
    {OPT_ASCII, 0, "ascii", NULL, "draw with ASCII characters only", HINT_NONE, NULL, true, false},
    {OPT_HELP, 'h', "help", NULL, "show help", HINT_NONE, NULL, true, false},
    {OPT_VERSION, 'V', "version", NULL, "show the version of this program", HINT_NONE, NULL, true,
     false},
    {OPT_OUTPUT, 'o', "output", "FORMAT", "table, wide, json, yaml or csv", HINT_WORDS,
     "table wide json yaml csv", false, false},
    {OPT_ONE_OUTPUT, 'o', "output", "FORMAT", "table, wide, json or yaml", HINT_WORDS,
     "table wide json yaml", false, false},
    {OPT_NO_HEADER, 0, "no-header", NULL, "leave the line of column names out", HINT_NONE, NULL,
     false, false},
    {OPT_WATCH, 'w', "watch", NULL, "show it again whenever something changes", HINT_NONE, NULL,
     false, false},
    {OPT_COMPACT, 0, "compact", NULL, "one line for each GPU (as when the picture is too high)",
     HINT_NONE, NULL, false, false},
    {OPT_PROFILE, 'p', "profile", "PROFILE",
     "what to get: 2g.20gb, 1g.10gb+me, 2g, memory=12GiB, 1c.3g.40gb or gpu", HINT_PROFILES, NULL,
     false, false},
    {OPT_COUNT_N, 'n', "count", "N", "that many slices, all or nothing (default 1)", HINT_NONE,
     NULL, false, false},
    {OPT_WAIT, 0, "wait", "D", "queue for up to D (30s, 5m, 1h30m), or 'forever'", HINT_NONE, NULL,
     false, false},
    {OPT_TTL, 0, "ttl", "D", "the lease ends by itself after D", HINT_NONE, NULL, false, false},
    {OPT_MODEL, 0, "model", "MODEL", "only on GPUs of this model", HINT_MODELS, NULL, false, false},
    {OPT_NAME, 0, "name", "NAME", "a name to recognise it by", HINT_NONE, NULL, false, false},
    {OPT_PRIORITY, 0, "priority", "N", "higher goes first in the queue (default 0)", HINT_NONE,
     NULL, false, false},
    {OPT_MOVABLE, 0, "movable", NULL,
     "you may be asked to move to another slice so that another request fits", HINT_NONE, NULL,
     false, false},
    {OPT_ON_MOVE, 0, "on-move", "COMMAND",
     "movable; runs COMMAND with sh when asked to move: exit status 0 confirms", HINT_NONE, NULL,
     false, false},
    {OPT_CONFIRM, 0, "confirm", NULL, "the work is on the new slice now", HINT_NONE, NULL, false,
     false},
    {OPT_REFUSE, 0, "refuse", NULL, "the work stays where it is", HINT_NONE, NULL, false, false},
    {OPT_LABEL, 'l', "label", "KEY=VALUE", "a label; may be repeated", HINT_NONE, NULL, false,
     false},
    {OPT_ENV, 0, "env", NULL, "print lines for eval: export CUDA_VISIBLE_DEVICES=...", HINT_NONE,
     NULL, false, false},
    {OPT_FILE, 'f', "file", "FILE", "a mig-parted configuration file; - is standard input",
     HINT_FILE, NULL, false, false},
    {OPT_CONFIG, 'c', "config", "NAME", "which of the file's configurations", HINT_NONE, NULL,
     false, false},
    {OPT_DRY_RUN, 0, "dry-run", NULL, "only show what would be done", HINT_NONE, NULL, false,
     false},
    {OPT_EXPLAIN, 0, "explain", NULL, "also say what would be done, step by step", HINT_NONE, NULL,
     false, false},
    {OPT_ALL, 'a', "all", NULL, "also those that have ended", HINT_NONE, NULL, false, false},
    {OPT_TENANT, 0, "tenant", "NAME", "of this tenant", HINT_TENANTS, NULL, false, false},
    {OPT_STATE, 0, "state", "STATE",
     "only these: queued, cutting, active, releasing, released, expired, rejected, lost",
     HINT_WORDS, STATES, false, false},
    {OPT_FOLLOW, 'f', "follow", NULL, "go on with what happens from now on", HINT_NONE, NULL, false,
     false},
    {OPT_AFTER, 0, "after", "ID", "only events after this one", HINT_NONE, NULL, false, false},
    {OPT_LIMIT, 0, "limit", "N", "at most N events", HINT_NONE, NULL, false, false},
    {OPT_ROLE, 0, "role", "ROLE", "viewer, tenant or operator (default tenant)", HINT_WORDS,
     "viewer tenant operator", false, false},
    {OPT_BY, 0, "by", "WHAT", "a row for each tenant, profile, day or lease", HINT_WORDS,
     "tenant profile day lease", false, false},
    {OPT_SINCE, 0, "since", "TIME", "from 2026-11-21 or 2026-11-21T23:59 (UTC), or 2h ago",
     HINT_NONE, NULL, false, false},
    {OPT_UNTIL, 0, "until", "TIME", "up to that time", HINT_NONE, NULL, false, false},
    {OPT_ONLY_PROFILE, 'p', "profile", "PROFILE", "only of this profile", HINT_PROFILES, NULL,
     false, false},
    {OPT_ADVICE, 0, "advice", NULL,
     "leases that a smaller profile would have held, or that do nothing", HINT_NONE, NULL, false,
     false},
    {OPT_SCDOC, 0, "scdoc", NULL, "the commands in the man page's source format", HINT_NONE, NULL,
     false, true},
};
const size_t cli_option_count = ARRAY_SIZE(cli_options);

#define OPTIONS(...) ((const enum cli_opt[]){__VA_ARGS__ __VA_OPT__(, ) OPT_END})
#define LIST OPT_OUTPUT, OPT_NO_HEADER, OPT_WATCH

const struct cli_command cli_commands[] = {
    {"status", "", "a picture of every GPU: who holds what, what is free, who waits",
     "Each GPU is drawn as its compute slices over its memory slots, with every slice over the "
     "cells it occupies. On a terminal that is too low for that each GPU has one line, and the "
     "number at its end is the compute that is free; -o wide draws the whole picture anyway. With "
     "-w it is drawn again when something changes; q ends it.",
     OPTIONS(OPT_WATCH, OPT_COMPACT, OPT_ONE_OUTPUT), 0, 0, HINT_NONE, NULL, false, cmd_status},
    {"gpus", "", "the GPUs of this machine", NULL, OPTIONS(LIST), 0, 0, HINT_NONE, NULL, false,
     cmd_gpus},
    {"profiles", "", "what can be asked for here, and how much of it is free",
     "MAX is how many fit on one empty GPU; FREE is how many fit on all of them beside everything "
     "that is there, idle slices included. Those are re-cut when somebody asks: 'tangram plan' "
     "counts with that.",
     OPTIONS(LIST), 0, 0, HINT_NONE, NULL, false, cmd_profiles},
    {"slices", "", "the slices that they are cut into", NULL, OPTIONS(LIST), 0, 0, HINT_NONE,
     NULL, false, cmd_slices},
    {"leases", "[ID]", "the leases, or one of them, whole", NULL,
     OPTIONS(LIST, OPT_ALL, OPT_TENANT, OPT_STATE), 0, 1, HINT_LEASES, NULL, false, cmd_leases},
    {"queue", "", "who waits, in which order and why", NULL, OPTIONS(LIST), 0, 0, HINT_NONE, NULL,
     false, cmd_queue},
    {"usage", "", "who used how much, what it cost, what would fit better",
     "Without --since and --until everything counts. Sums are kept by UTC day, so a range grows to "
     "whole days; --by lease is exact, of the leases that are remembered. SM% is the mean share of "
     "multiprocessors at work, as far as the GPU tells (Hopper and later), MEM-PEAK% the highest "
     "use of a slice's memory, IDLE% the share of the time without a process or activity. Tenants "
     "see their own usage, viewers and operators all. --advice stays silent about a lease until "
     "enough is known of it.",
     OPTIONS(OPT_BY, OPT_SINCE, OPT_UNTIL, OPT_TENANT, OPT_ONLY_PROFILE, OPT_ADVICE, OPT_ALL, LIST),
     0, 0, HINT_NONE, NULL, false, cmd_usage},
    {"run", "-- CMD [ARG...]", "obtain a slice, run a command on it, give it back",
     "The command gets CUDA_VISIBLE_DEVICES, NVIDIA_VISIBLE_DEVICES and TANGRAM_LEASE, and this "
     "program's standard input, output and error. The slice is given back however the command "
     "ends, also when this program is killed; the exit status is the command's: 128 + N when "
     "signal N ended it, 126 when it cannot be executed, 127 when there is no such program. "
     "Signals are handed on. Without --wait nothing waits in the queue: if it cannot be had now, "
     "the exit status is 3. With -n the variables name all slices, separated by commas; CUDA "
     "lets a process use one MIG device only and takes the first, so a command that wants all of "
     "them has to start a process for each. The command of --on-move finds TANGRAM_LEASE, "
     "TANGRAM_OLD_MIG_UUID, TANGRAM_NEW_MIG_UUID (also as CUDA_VISIBLE_DEVICES), "
     "TANGRAM_COMMAND_PID, TANGRAM_MOVE_UNTIL, TANGRAM_MOVE_ID and TANGRAM_MOVE. With 'ask' it "
     "brings the work to the new slice, or stops it, and ends with 0, or with another status to "
     "stay; with -n this is one of the slices, the old one, and the others stay. With 'stop' there "
     "is no new slice yet: the work has to stop, and the command is run again with 'moved' when "
     "there is one.",
     OPTIONS(OPT_PROFILE, OPT_COUNT_N, OPT_WAIT, OPT_MODEL, OPT_NAME, OPT_PRIORITY, OPT_MOVABLE,
             OPT_ON_MOVE),
     1, -1, HINT_COMMAND, NULL, true, cmd_run},
    {"lease", "", "obtain a slice and keep it until it is released",
     "Without --wait nothing waits in the queue: if it cannot be had now, the exit status is 3. "
     "With it, Ctrl-C cancels the request.",
     OPTIONS(OPT_PROFILE, OPT_COUNT_N, OPT_TTL, OPT_WAIT, OPT_MODEL, OPT_PRIORITY, OPT_MOVABLE,
             OPT_NAME, OPT_LABEL, OPT_ENV, OPT_ONE_OUTPUT),
     0, 0, HINT_NONE, NULL, false, cmd_lease},
    {"release", "ID...", "give leases back, or cancel requests that wait", NULL, OPTIONS(), 1, -1,
     HINT_LEASES, NULL, false, cmd_release},
    {"renew", "ID", "let a lease end later: in --ttl D from now",
     "'--ttl never' removes the time limit.", OPTIONS(OPT_TTL, OPT_ONE_OUTPUT), 1, 1, HINT_LEASES,
     NULL, false, cmd_renew},
    {"move", "ID [MOVE]", "answer when a movable lease is asked to move to another slice",
     "Without an option it shows what is asked. Confirm when the work runs on the new slice, or "
     "has stopped: the old slice goes as soon as no process uses it. Refused, or not answered in "
     "time, the lease keeps its slice and is not asked again for a while. MOVE, as in l-7.2, or "
     "the UUID of the new slice, says what is answered: if something else is asked by then, the "
     "answer does not count (exit status 5). A script should always give it.",
     OPTIONS(OPT_CONFIRM, OPT_REFUSE, OPT_ONE_OUTPUT), 1, 2, HINT_LEASES, NULL, false, cmd_move},
    {"plan", "[PROFILE[:N]...]", "would it fit, where, what would be cut; nothing is changed",
     "Several are placed together, with as few empty GPUs as can be, and it is said whether that "
     "is proven. The exit status is 0 when it fits now and 3 when not.",
     OPTIONS(OPT_PROFILE, OPT_MODEL, OPT_EXPLAIN, OPT_ONE_OUTPUT), 0, -1, HINT_PROFILES, NULL,
     false, cmd_plan},
    {"why", "ID", "why a request waits, and what would let it through", NULL,
     OPTIONS(OPT_ONE_OUTPUT), 1, 1, HINT_LEASES, NULL, false, cmd_why},
    {"apply", "", "cut the GPUs as a mig-parted file says",
     "The file is applied as a difference: slices that fit it stay, only idle ones go. When one "
     "in use stands in the way it is named, nothing is changed and the exit status is 5.",
     OPTIONS(OPT_FILE, OPT_CONFIG, OPT_DRY_RUN, OPT_ONE_OUTPUT), 0, 0, HINT_NONE, NULL, false,
     cmd_apply},
    {"export", "", "print today's layout as a mig-parted file", NULL, OPTIONS(OPT_ONE_OUTPUT), 0, 0,
     HINT_NONE, NULL, false, cmd_export},
    {"diff", "", "what apply would change: exit status 0 nothing, 3 something", NULL,
     OPTIONS(OPT_FILE, OPT_CONFIG, OPT_ONE_OUTPUT), 0, 0, HINT_NONE, NULL, false, cmd_diff},
    {"adopt", "SLICE...", "take over slices that tangram did not make",
     "A slice is named by its MIG UUID or as GPU:START (0:4 is the one at memory slot 4 of GPU "
     "0).",
     OPTIONS(), 1, -1, HINT_SLICES, NULL, false, cmd_adopt},
    {"disown", "SLICE...", "let idle slices go: tangram will not touch them any more",
     "A slice is named as for adopt.", OPTIONS(), 1, -1, HINT_SLICES, NULL, false, cmd_disown},
    {"events", "", "what happened; -f follows",
     "With -f and -o json every event is one line.",
     OPTIONS(OPT_FOLLOW, OPT_AFTER, OPT_LIMIT, OPT_OUTPUT, OPT_NO_HEADER), 0, 0, HINT_NONE, NULL,
     false, cmd_events},
    {"doctor", "", "what is wrong with this machine and what to do",
     "The daemon tells of the driver, the GPUs, slices of others or such as do not go, its journal "
     "and disk, the clock and the queue; this program of versions that differ, of programs that "
     "keep the MIG mode from changing (run it as root to see everybody's), and, when no daemon "
     "answers, of why. The exit status is 1 when something is an error, 6 when no daemon answers.",
     OPTIONS(OPT_OUTPUT), 0, 0, HINT_NONE, NULL, false, cmd_doctor},
    {"token", "create|list|revoke [ID...]", "bearer tokens for the TCP door (operators)",
     "create prints the token once, on standard output; only its hash is stored.",
     OPTIONS(OPT_NAME, OPT_TENANT, OPT_ROLE, OPT_OUTPUT, OPT_NO_HEADER), 1, -1, HINT_WORDS,
     "create list revoke", false, cmd_token},
    {"version", "", "the versions of this program and of the daemon", NULL,
     OPTIONS(OPT_ONE_OUTPUT), 0, 0, HINT_NONE, NULL, false, cmd_version},
    {"completion", "bash|zsh|fish", "a script that completes tangram's commands in a shell",
     "For bash: source <(tangram completion bash). For zsh: put it into a directory of $fpath as "
     "_tangram. For fish: into ~/.config/fish/completions/tangram.fish. 'completion words WORD...' "
     "is what they ask: a line for each word that could stand in place of the last one.",
     OPTIONS(), 1, -1, HINT_WORDS, "bash zsh fish",
     true, cmd_completion},
    {"help", "[COMMAND]", "help, or help for one command", NULL, OPTIONS(OPT_SCDOC), 0, 1,
     HINT_COMMANDS, NULL, false, cmd_help},
};
const size_t cli_command_count = ARRAY_SIZE(cli_commands);
