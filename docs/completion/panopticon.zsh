#compdef panopticon panopticon-convert
# Completion for panopticon, for panopticon-convert, and for python3 -m panopticon_rec. Made by docs/generate.py.

_panopticon_rec() {
    _arguments -s -S \
        '*-o[where the capture or trace goes]:PATH:_files' \
        '*--output=[where the capture or trace goes]:PATH:_files' \
        '*--force[replace an existing capture]' \
        '*-q[no summary at the end]' \
        '*--quiet[no summary at the end]' \
        '*--c-calls[record calls of C functions, too]' \
        '*--exceptions[record raised and handled exceptions]' \
        '*--gc[record garbage collections]' \
        '*--task-names[record names of asyncio'\''s tasks]' \
        '*--samples=[sample threads every DURATION]:DURATION:_files' \
        '*--args=[record arguments of functions that match]:GLOB:_files' \
        '*--results=[record results of functions that match]:GLOB:_files' \
        '*--args-repr=[as --args, with repr() of other objects]:GLOB:_files' \
        '*--redact=[names of values that are not recorded]:WORDS:_files' \
        '*--engine=[where events come from]:frame monitoring:(frame monitoring)' \
        '*--mine[only code below the current directory]' \
        '*--include=[record functions that match]:GLOB:_files' \
        '*--exclude=[do not record functions that match]:GLOB:_files' \
        '*--no-stdlib[do not record the standard library]' \
        '*--no-frozen[do not record frozen modules]' \
        '*--min-duration=[leave out calls shorter than DURATION]:DURATION:_files' \
        '*--clock=[when to read the clock]:full sparse:(full sparse)' \
        '*--max-overhead=[mute hot functions beyond PERCENT]:PERCENT:_files' \
        '*--start-paused[record nothing at first]' \
        '*--max-size=[evict the oldest data beyond SIZE]:SIZE:_files' \
        '*--last=[evict data older than DURATION]:DURATION:_files' \
        '*--on-overflow=[what to do when the disk is slow]:block discard:(block discard)' \
        '*--follow=[which child processes to record]:none fork all:(none fork all)' \
        '*--snapshot-on=[save a snapshot at a signal or exception]:WHEN:_files' \
        '*--toggle-on=[a signal that pauses and resumes]:SIGNAL:_files' \
        '*-h[this list; --help describes each]' \
        '*--help[this list; --help describes each]' \
        '*--version[the version]' \
        '*::program:_files'
}

_panopticon_convert() {
    _arguments -s -S \
        '*-o[where to write; - is standard output]:FILE:_files' \
        '*--output=[where to write; - is standard output]:FILE:_files' \
        '*--format=[catapult, perfetto, folded, pstats or report]:FORMAT:(catapult perfetto folded pstats report)' \
        '*--align=[how several captures get one timeline]:HOW:_files' \
        '*--group=[under which name a capture is shown]:NAME:_files' \
        '*-q[no summary; warnings and errors are still shown]' \
        '*--quiet[no summary; warnings and errors are still shown]' \
        '*-j[how many threads work, up to 16]:N:_files' \
        '*--jobs=[how many threads work, up to 16]:N:_files' \
        '*--flows=[which slices arrows connect]:KINDS:_files' \
        '*--tasks[a row for each task of asyncio]' \
        '*--split=[several files of at most SIZE, such as 200M]:SIZE:_files' \
        '*--logical[all calls have the same width]' \
        '*--top[print the functions that took the most time]' \
        '*--busy[with --top\: without what only waited]' \
        '*--exceptions[with --top\: where exceptions were raised]' \
        '*--json[with --top\: print all functions, as JSON]' \
        '*--info[print what is in the capture, at once]' \
        '*--verify[read all of the capture and report damage]' \
        '*--from=[leave out what is before TIME]:TIME:_files' \
        '*--to=[leave out what is after TIME]:TIME:_files' \
        '*--process=[show processes with this id or name]:PID:_files' \
        '*--thread=[show threads and greenlets with this id or name]:TID:_files' \
        '*--include=[show functions that match]:GLOB:_files' \
        '*--exclude=[leave out functions that match]:GLOB:_files' \
        '*--min-duration=[leave out slices shorter than DURATION]:DURATION:_files' \
        '*--max-depth=[at most N nested slices]:N:_files' \
        '*--exact[leave out what is estimated]' \
        '*-h[this list; --help shows more]' \
        '*--help[this list; --help shows more]' \
        '*--version[the version]' \
        '*:CAPTURE:_files -/'
}

_panopticon_record() {
    _arguments -s -S \
        '*--view[open the trace at the end of the program]' \
        '*-o[where the capture or trace goes]:PATH:_files' \
        '*--output=[where the capture or trace goes]:PATH:_files' \
        '*--force[replace an existing capture]' \
        '*-q[no summary at the end]' \
        '*--quiet[no summary at the end]' \
        '*--c-calls[record calls of C functions, too]' \
        '*--exceptions[record raised and handled exceptions]' \
        '*--gc[record garbage collections]' \
        '*--task-names[record names of asyncio'\''s tasks]' \
        '*--samples=[sample threads every DURATION]:DURATION:_files' \
        '*--args=[record arguments of functions that match]:GLOB:_files' \
        '*--results=[record results of functions that match]:GLOB:_files' \
        '*--args-repr=[as --args, with repr() of other objects]:GLOB:_files' \
        '*--redact=[names of values that are not recorded]:WORDS:_files' \
        '*--engine=[where events come from]:frame monitoring:(frame monitoring)' \
        '*--mine[only code below the current directory]' \
        '*--include=[record functions that match]:GLOB:_files' \
        '*--exclude=[do not record functions that match]:GLOB:_files' \
        '*--no-stdlib[do not record the standard library]' \
        '*--no-frozen[do not record frozen modules]' \
        '*--min-duration=[leave out calls shorter than DURATION]:DURATION:_files' \
        '*--clock=[when to read the clock]:full sparse:(full sparse)' \
        '*--max-overhead=[mute hot functions beyond PERCENT]:PERCENT:_files' \
        '*--start-paused[record nothing at first]' \
        '*--max-size=[evict the oldest data beyond SIZE]:SIZE:_files' \
        '*--last=[evict data older than DURATION]:DURATION:_files' \
        '*--on-overflow=[what to do when the disk is slow]:block discard:(block discard)' \
        '*--follow=[which child processes to record]:none fork all:(none fork all)' \
        '*--snapshot-on=[save a snapshot at a signal or exception]:WHEN:_files' \
        '*--toggle-on=[a signal that pauses and resumes]:SIGNAL:_files' \
        '*-h[this list; --help describes each]' \
        '*--help[this list; --help describes each]' \
        '*--version[the version]' \
        '*::program:_files'
}

_panopticon_attach() {
    _arguments -s -S \
        '*--for=[end the recording after DURATION]:DURATION:_files' \
        '*--library=[where panopticon_rec for that Python is]:PATH:_files' \
        '*-o[where the capture or trace goes]:PATH:_files' \
        '*--output=[where the capture or trace goes]:PATH:_files' \
        '*--force[replace an existing capture]' \
        '*-q[no summary at the end]' \
        '*--quiet[no summary at the end]' \
        '*--c-calls[record calls of C functions, too]' \
        '*--exceptions[record raised and handled exceptions]' \
        '*--gc[record garbage collections]' \
        '*--task-names[record names of asyncio'\''s tasks]' \
        '*--samples=[sample threads every DURATION]:DURATION:_files' \
        '*--args=[record arguments of functions that match]:GLOB:_files' \
        '*--results=[record results of functions that match]:GLOB:_files' \
        '*--args-repr=[as --args, with repr() of other objects]:GLOB:_files' \
        '*--redact=[names of values that are not recorded]:WORDS:_files' \
        '*--engine=[where events come from]:frame monitoring:(frame monitoring)' \
        '*--mine[only code below the current directory]' \
        '*--include=[record functions that match]:GLOB:_files' \
        '*--exclude=[do not record functions that match]:GLOB:_files' \
        '*--no-stdlib[do not record the standard library]' \
        '*--no-frozen[do not record frozen modules]' \
        '*--min-duration=[leave out calls shorter than DURATION]:DURATION:_files' \
        '*--clock=[when to read the clock]:full sparse:(full sparse)' \
        '*--max-overhead=[mute hot functions beyond PERCENT]:PERCENT:_files' \
        '*--start-paused[record nothing at first]' \
        '*--max-size=[evict the oldest data beyond SIZE]:SIZE:_files' \
        '*--last=[evict data older than DURATION]:DURATION:_files' \
        '*--on-overflow=[what to do when the disk is slow]:block discard:(block discard)' \
        '*--follow=[which child processes to record]:none fork all:(none fork all)' \
        '*--snapshot-on=[save a snapshot at a signal or exception]:WHEN:_files' \
        '*--toggle-on=[a signal that pauses and resumes]:SIGNAL:_files' \
        '*-h[this list; --help describes each]' \
        '*--help[this list; --help describes each]' \
        '*--version[the version]' \
        '*:PATH:_files'
}

_panopticon_detach() {
    _arguments -s -S \
        '*--library=[where panopticon_rec for that Python is]:PATH:_files' \
        '*:PATH:_files'
}

_panopticon_view() {
    _arguments -s -S \
        '*--viewer=[which viewer]:perfetto catapult:(perfetto catapult)' \
        '*-o[where to write; - is standard output]:FILE:_files' \
        '*--output=[where to write; - is standard output]:FILE:_files' \
        '*--format=[catapult, perfetto, folded, pstats or report]:FORMAT:(catapult perfetto folded pstats report)' \
        '*--align=[how several captures get one timeline]:HOW:_files' \
        '*--group=[under which name a capture is shown]:NAME:_files' \
        '*-q[no summary; warnings and errors are still shown]' \
        '*--quiet[no summary; warnings and errors are still shown]' \
        '*-j[how many threads work, up to 16]:N:_files' \
        '*--jobs=[how many threads work, up to 16]:N:_files' \
        '*--flows=[which slices arrows connect]:KINDS:_files' \
        '*--tasks[a row for each task of asyncio]' \
        '*--split=[several files of at most SIZE, such as 200M]:SIZE:_files' \
        '*--logical[all calls have the same width]' \
        '*--top[print the functions that took the most time]' \
        '*--busy[with --top\: without what only waited]' \
        '*--exceptions[with --top\: where exceptions were raised]' \
        '*--json[with --top\: print all functions, as JSON]' \
        '*--info[print what is in the capture, at once]' \
        '*--verify[read all of the capture and report damage]' \
        '*--from=[leave out what is before TIME]:TIME:_files' \
        '*--to=[leave out what is after TIME]:TIME:_files' \
        '*--process=[show processes with this id or name]:PID:_files' \
        '*--thread=[show threads and greenlets with this id or name]:TID:_files' \
        '*--include=[show functions that match]:GLOB:_files' \
        '*--exclude=[leave out functions that match]:GLOB:_files' \
        '*--min-duration=[leave out slices shorter than DURATION]:DURATION:_files' \
        '*--max-depth=[at most N nested slices]:N:_files' \
        '*--exact[leave out what is estimated]' \
        '*-h[this list; --help shows more]' \
        '*--help[this list; --help shows more]' \
        '*--version[the version]' \
        '*:PATH:_files'
}

_panopticon_ctl() {
    _arguments -s -S \
        '*--process=[only this process]:PID:_files' \
        '*--watch[show the status anew every second]' \
        '*--json[print JSON]' \
        '*-o[where the snapshot goes]:PATH:_files' \
        '*--output=[where the snapshot goes]:PATH:_files' \
        '*--last=[evict data older than DURATION]:DURATION:_files' \
        '*--max-size=[evict the oldest data beyond SIZE]:SIZE:_files' \
        '*:PATH:_files'
}

_panopticon_merge() {
    _arguments -s -S \
        '*-o[where to write; - is standard output]:FILE:_files' \
        '*--output=[where to write; - is standard output]:FILE:_files' \
        '*--format=[catapult, perfetto, folded, pstats or report]:FORMAT:(catapult perfetto folded pstats report)' \
        '*--align=[how several captures get one timeline]:HOW:_files' \
        '*--group=[under which name a capture is shown]:NAME:_files' \
        '*-q[no summary; warnings and errors are still shown]' \
        '*--quiet[no summary; warnings and errors are still shown]' \
        '*-j[how many threads work, up to 16]:N:_files' \
        '*--jobs=[how many threads work, up to 16]:N:_files' \
        '*--flows=[which slices arrows connect]:KINDS:_files' \
        '*--tasks[a row for each task of asyncio]' \
        '*--split=[several files of at most SIZE, such as 200M]:SIZE:_files' \
        '*--logical[all calls have the same width]' \
        '*--top[print the functions that took the most time]' \
        '*--busy[with --top\: without what only waited]' \
        '*--exceptions[with --top\: where exceptions were raised]' \
        '*--json[with --top\: print all functions, as JSON]' \
        '*--info[print what is in the capture, at once]' \
        '*--verify[read all of the capture and report damage]' \
        '*--from=[leave out what is before TIME]:TIME:_files' \
        '*--to=[leave out what is after TIME]:TIME:_files' \
        '*--process=[show processes with this id or name]:PID:_files' \
        '*--thread=[show threads and greenlets with this id or name]:TID:_files' \
        '*--include=[show functions that match]:GLOB:_files' \
        '*--exclude=[leave out functions that match]:GLOB:_files' \
        '*--min-duration=[leave out slices shorter than DURATION]:DURATION:_files' \
        '*--max-depth=[at most N nested slices]:N:_files' \
        '*--exact[leave out what is estimated]' \
        '*-h[this list; --help shows more]' \
        '*--help[this list; --help shows more]' \
        '*--version[the version]' \
        '*:PATH:_files'
}

_panopticon_diff() {
    _arguments -s -S \
        '*--before=[captures of one side, as many as there are]:CAPTURE...:_files' \
        '*--after=[captures of the other side]:CAPTURE...:_files' \
        '*--by=[what is compared, and sorted by]:self total calls mean p50 p99 max suspended:(self total calls mean p50 p99 max suspended)' \
        '*--json[print all functions with all figures, as JSON]' \
        '*-o[also write all captures as one file]:FILE:_files' \
        '*--output=[also write all captures as one file]:FILE:_files' \
        '*--align=[what is at the same time in all captures]:HOW:_files' \
        '*--fail-above=[exit with status 1 if a function is slower]:PERCENT:_files' \
        '*--from=[leave out what is before TIME]:TIME:_files' \
        '*--to=[leave out what is after TIME]:TIME:_files' \
        '*--process=[show processes with this id or name]:PID:_files' \
        '*--thread=[show threads and greenlets with this id or name]:TID:_files' \
        '*--include=[show functions that match]:GLOB:_files' \
        '*--exclude=[leave out functions that match]:GLOB:_files' \
        '*--min-duration=[leave out slices shorter than DURATION]:DURATION:_files' \
        '*--max-depth=[at most N nested slices]:N:_files' \
        '*--exact[leave out what is estimated]' \
        '*:PATH:_files'
}

_panopticon_sql() {
    _arguments -s -S \
        '*--json[print JSON\: a list of objects]' \
        '*--csv[print CSV, with the names of the columns]' \
        '*:PATH:_files'
}

_panopticon() {
    if (( CURRENT == 2 )); then
        local -a names=('record:record a Python program' 'attach:record a running process' 'detach:end what attach records' 'view:show a capture, or a trace, in a viewer' 'ctl:ask running processes what they record, and change it' 'convert:convert a capture to a trace, or to Parquet' 'merge:convert captures of several machines to one trace' 'report:write a capture as one HTML page' 'top:print the functions that took the most time' 'diff:compare captures, function by function' 'sql:ask captures a question in SQL' 'info:print what is in a capture' 'verify:read all of a capture and report damage')
        _describe subcommand names
        return
    fi
    shift words
    (( CURRENT -= 1 ))
    case $words[1] in
        record) _panopticon_record ;;
        attach) _panopticon_attach ;;
        detach) _panopticon_detach ;;
        view) _panopticon_view ;;
        ctl) _panopticon_ctl ;;
        convert) _panopticon_convert ;;
        merge|report|top|info|verify) _panopticon_merge ;;
        diff) _panopticon_diff ;;
        sql) _panopticon_sql ;;
    esac
}

_panopticon_python() {
    if [[ $words[2] == -m && $words[3] == panopticon_rec ]] && (( CURRENT > 3 )); then
        shift 2 words
        (( CURRENT -= 2 ))
        _panopticon_rec
    else
        _python "$@"
    fi
}

compdef _panopticon_python python3
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    case $service in
        panopticon) _panopticon "$@" ;;
        *) _panopticon_convert "$@" ;;
    esac
else
    compdef _panopticon panopticon
    compdef _panopticon_convert panopticon-convert
fi
