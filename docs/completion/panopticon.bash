# Completion for panopticon, for panopticon-convert, and for python3 -m panopticon_rec. Made by docs/generate.py.

_panopticon_rec() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
    [[ $word == "=" ]] && word=""
    [[ $before == "=" ]] && before=${COMP_WORDS[COMP_CWORD-2]}
    case $before in
        --engine) COMPREPLY=($(compgen -W "frame monitoring" -- "$word")); return ;;
        --clock) COMPREPLY=($(compgen -W "full sparse" -- "$word")); return ;;
        --on-overflow) COMPREPLY=($(compgen -W "block discard" -- "$word")); return ;;
        --follow) COMPREPLY=($(compgen -W "none fork all" -- "$word")); return ;;
    esac
    [[ $word == -* ]] && COMPREPLY=($(compgen -W "-o --output --force -q --quiet --c-calls --exceptions --gc --task-names --samples --args --results --args-repr --redact --engine --mine --include --exclude --no-stdlib --no-frozen --min-duration --clock --max-overhead --start-paused --max-size --last --on-overflow --follow --snapshot-on --toggle-on -h --help --version" -- "$word"))
    return 0
}

_panopticon_convert() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
    [[ $word == "=" ]] && word=""
    [[ $before == "=" ]] && before=${COMP_WORDS[COMP_CWORD-2]}
    case $before in
        --format) COMPREPLY=($(compgen -W "catapult perfetto folded pstats report" -- "$word")); return ;;
    esac
    [[ $word == -* ]] && COMPREPLY=($(compgen -W "-o --output --format --align --group -q --quiet -j --jobs --flows --tasks --split --logical --top --busy --exceptions --json --info --verify --from --to --process --thread --include --exclude --min-duration --max-depth --exact -h --help --version" -- "$word"))
    return 0
}

_panopticon_record() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
    [[ $word == "=" ]] && word=""
    [[ $before == "=" ]] && before=${COMP_WORDS[COMP_CWORD-2]}
    case $before in
        --engine) COMPREPLY=($(compgen -W "frame monitoring" -- "$word")); return ;;
        --clock) COMPREPLY=($(compgen -W "full sparse" -- "$word")); return ;;
        --on-overflow) COMPREPLY=($(compgen -W "block discard" -- "$word")); return ;;
        --follow) COMPREPLY=($(compgen -W "none fork all" -- "$word")); return ;;
    esac
    [[ $word == -* ]] && COMPREPLY=($(compgen -W "--view -o --output --force -q --quiet --c-calls --exceptions --gc --task-names --samples --args --results --args-repr --redact --engine --mine --include --exclude --no-stdlib --no-frozen --min-duration --clock --max-overhead --start-paused --max-size --last --on-overflow --follow --snapshot-on --toggle-on -h --help --version" -- "$word"))
    return 0
}

_panopticon_attach() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
    [[ $word == "=" ]] && word=""
    [[ $before == "=" ]] && before=${COMP_WORDS[COMP_CWORD-2]}
    case $before in
        --engine) COMPREPLY=($(compgen -W "frame monitoring" -- "$word")); return ;;
        --clock) COMPREPLY=($(compgen -W "full sparse" -- "$word")); return ;;
        --on-overflow) COMPREPLY=($(compgen -W "block discard" -- "$word")); return ;;
        --follow) COMPREPLY=($(compgen -W "none fork all" -- "$word")); return ;;
    esac
    [[ $word == -* ]] && COMPREPLY=($(compgen -W "--for --library -o --output --force -q --quiet --c-calls --exceptions --gc --task-names --samples --args --results --args-repr --redact --engine --mine --include --exclude --no-stdlib --no-frozen --min-duration --clock --max-overhead --start-paused --max-size --last --on-overflow --follow --snapshot-on --toggle-on -h --help --version" -- "$word"))
    return 0
}

_panopticon_detach() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
    [[ $word == "=" ]] && word=""
    [[ $before == "=" ]] && before=${COMP_WORDS[COMP_CWORD-2]}
    case $before in
    esac
    [[ $word == -* ]] && COMPREPLY=($(compgen -W "--library" -- "$word"))
    return 0
}

_panopticon_view() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
    [[ $word == "=" ]] && word=""
    [[ $before == "=" ]] && before=${COMP_WORDS[COMP_CWORD-2]}
    case $before in
        --viewer) COMPREPLY=($(compgen -W "perfetto catapult" -- "$word")); return ;;
        --format) COMPREPLY=($(compgen -W "catapult perfetto folded pstats report" -- "$word")); return ;;
    esac
    [[ $word == -* ]] && COMPREPLY=($(compgen -W "--viewer -o --output --format --align --group -q --quiet -j --jobs --flows --tasks --split --logical --top --busy --exceptions --json --info --verify --from --to --process --thread --include --exclude --min-duration --max-depth --exact -h --help --version" -- "$word"))
    return 0
}

_panopticon_ctl() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
    [[ $word == "=" ]] && word=""
    [[ $before == "=" ]] && before=${COMP_WORDS[COMP_CWORD-2]}
    case $before in
    esac
    [[ $word == -* ]] && COMPREPLY=($(compgen -W "--process --watch --json -o --output --last --max-size" -- "$word"))
    return 0
}

_panopticon_diff() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
    [[ $word == "=" ]] && word=""
    [[ $before == "=" ]] && before=${COMP_WORDS[COMP_CWORD-2]}
    case $before in
        --by) COMPREPLY=($(compgen -W "self total calls mean p50 p99 max suspended" -- "$word")); return ;;
    esac
    [[ $word == -* ]] && COMPREPLY=($(compgen -W "--before --after --by --json -o --output --align --fail-above --from --to --process --thread --include --exclude --min-duration --max-depth --exact" -- "$word"))
    return 0
}

_panopticon_sql() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
    [[ $word == "=" ]] && word=""
    [[ $before == "=" ]] && before=${COMP_WORDS[COMP_CWORD-2]}
    case $before in
    esac
    [[ $word == -* ]] && COMPREPLY=($(compgen -W "--json --csv" -- "$word"))
    return 0
}

_panopticon() {
    COMPREPLY=()
    if [[ $COMP_CWORD -eq 1 ]]; then
        COMPREPLY=($(compgen -W "record attach detach view ctl convert merge report top diff sql info verify --help --version" -- "${COMP_WORDS[1]}"))
        return
    fi
    case ${COMP_WORDS[1]} in
        record) _panopticon_record ;;
        attach) _panopticon_attach ;;
        detach) _panopticon_detach ;;
        view) _panopticon_view ;;
        ctl) _panopticon_ctl ;;
        convert|merge|report|top|info|verify) _panopticon_convert ;;
        diff) _panopticon_diff ;;
        sql) _panopticon_sql ;;
    esac
}

_panopticon_python() {
    COMPREPLY=()
    if [[ ${COMP_WORDS[1]} == -m && ${COMP_WORDS[2]} == panopticon_rec && $COMP_CWORD -gt 2 ]]; then
        _panopticon_rec
    elif declare -F _python > /dev/null; then
        _python "$@"
    fi
}

complete -o default -F _panopticon panopticon
complete -o default -F _panopticon_convert panopticon-convert
complete -o default -F _panopticon_python python3
