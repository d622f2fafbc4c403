/* Completion scripts.  They know nothing of tangram but how to ask it: what could stand where the
 * cursor is comes from `tangram completion words`, which reads the same table as the parser and
 * asks the daemon for ids (complete.c).  So they are the same for every version, and a command that
 * is added is completed in all shells at once. */
#include "cli/complete.h"
#include <stdio.h>
#include <string.h>

static const char bash_script[] =
    "# bash completion for tangram; load it with: source <(tangram completion bash)\n"
    "_tangram() {\n"
    "    local cur=${COMP_WORDS[COMP_CWORD]} word rest at quoted\n"
    "    local first=${COMP_LINE%%[[:space:]]*}\n"
    "    COMPREPLY=()\n"
    "    while IFS=$'\\t' read -r word rest; do\n"
    "        case $word in\n"
    "        :files)\n"
    "            [[ $cur == = ]] && cur=\n"
    "            compopt -o filenames 2>/dev/null\n"
    "            while IFS= read -r word; do\n"
    "                COMPREPLY+=(\"$word\")\n"
    "            done < <(compgen -f -- \"$cur\") ;;\n"
    "        :command*)\n"
    "            at=$((${word#:command } + 1))\n"
    "            if declare -F _command_offset >/dev/null; then\n"
    "                _command_offset \"$at\"\n"
    "            elif ((COMP_CWORD == at)); then\n"
    "                COMPREPLY=($(compgen -c -- \"$cur\"))\n"
    "            else\n"
    "                compopt -o filenames 2>/dev/null\n"
    "                COMPREPLY=($(compgen -f -- \"$cur\"))\n"
    "            fi ;;\n"
    "        *)\n"
    "            [[ $word == *= ]] && compopt -o nospace 2>/dev/null\n"
    "            printf -v quoted %q \"$word\"\n"
    "            COMPREPLY+=(\"$quoted\") ;;\n"
    "        esac\n"
    "    done < <(\"${first/#\\~/$HOME}\" completion words \"${COMP_WORDS[@]:1:COMP_CWORD}\" "
    "2>/dev/null)\n"
    "}\n"
    "complete -F _tangram tangram\n";

static const char zsh_script[] =
    "#compdef tangram\n"
    "# zsh completion for tangram; put it into a directory of $fpath as _tangram\n"
    "_tangram() {\n"
    "    local line word about\n"
    "    local -a found shown ending lines\n"
    "    lines=(\"${(@f)$(\"${(e)~words[1]}\" completion words \"${(@Q)words[2,CURRENT-1]}\" "
    "\"${(Q)PREFIX}\" 2>/dev/null)}\")\n"
    "    for line in $lines; do\n"
    "        word=${line%%$'\\t'*} about=${line#*$'\\t'}\n"
    "        case $word in\n"
    "        :files) _files; return ;;\n"
    "        :command*)\n"
    "            local at=$((${word#:command } + 1))\n"
    "            words=(\"${(@)words[at+1,-1]}\")\n"
    "            ((CURRENT -= at))\n"
    "            _normal; return ;;\n"
    "        *=) ending=(-S '') ;|\n"
    "        *) found+=(\"$word\"); shown+=(\"$word${about:+  -- $about}\") ;;\n"
    "        esac\n"
    "    done\n"
    "    (($#found)) && compadd -l -d shown \"${(@)ending}\" -a found\n"
    "}\n"
    "if [[ $funcstack[1] == _tangram ]]; then\n"
    "    _tangram \"$@\"\n"
    "else\n"
    "    compdef _tangram tangram\n"
    "fi\n";

static const char fish_script[] =
    "# fish completion for tangram; put it into ~/.config/fish/completions/tangram.fish\n"
    "function __tangram_complete\n"
    "    set -l words (commandline -opc)\n"
    "    set -l cur (commandline -ct)\n"
    "    for line in ($words[1] completion words $words[2..-1] \"$cur\" 2>/dev/null)\n"
    "        switch $line\n"
    "            case :files\n"
    "                set -l before (string match -r -- '^--[^=]*=' \"$cur\")\n"
    "                set -q before[1]; or set before ''\n"
    "                set -l rest (string replace -- \"$before\" '' \"$cur\")\n"
    "                for path in (__fish_complete_path $rest)\n"
    "                    echo -- $before$path\n"
    "                end\n"
    "            case ':command *'\n"
    "                set -l at (string replace ':command ' '' -- $line)\n"
    "                set -l theirs (string escape -- $words[(math $at + 2)..-1])\n"
    "                complete -C \"$theirs $cur\"\n"
    "            case '*'\n"
    "                echo -- $line\n"
    "        end\n"
    "    end\n"
    "end\n"
    "complete -c tangram -f -a '(__tangram_complete)'\n";

int cmd_completion(struct cli *cli)
{
    static const struct {
        const char *shell, *script;
    } scripts[] = {{"bash", bash_script}, {"zsh", zsh_script}, {"fish", fish_script}};
    const char *what = cli->args.args[0];

    if (!strcmp(what, "words")) {
        complete_print(cli, cli->args.args + 1, cli->args.arg_count - 1);
        return CLI_OK;
    }
    if (cli->args.arg_count > 1) {
        return cli_usage(cli, "completion: '%.60s' is one argument too many", cli->args.args[1]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(scripts); i++) {
        if (!strcmp(what, scripts[i].shell)) {
            fputs(scripts[i].script, stdout);
            return CLI_OK;
        }
    }
    return cli_usage(cli, "there is completion for bash, zsh and fish, not for '%.40s'", what);
}
