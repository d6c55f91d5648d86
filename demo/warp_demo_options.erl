%% What the command line asks for.
-module(warp_demo_options).

-export([parse/1, usage/0]).
-export_type([options/0]).

-type options() :: #{csv := flights | string(), id := binary(), shards := pos_integer(),
                     data_dir := default | string(), json := boolean()}.

-spec usage() -> iodata().
usage() ->
    "usage: make demo ARGS=\"[OPTION...]\"\n"
    "\n"
    "  --csv FILE      a CSV file with a header, each row an event; without it, the 336,776\n"
    "                  flights of 2013 out of New York, which pip fetches\n"
    "  --id COLUMN     the column that names the entity of a row (needed with --csv)\n"
    "  --shards N      shards of the context, 1 to 1024 (default: one per core)\n"
    "  --data-dir DIR  where the context's files go (default _build/demo-data, emptied first)\n"
    "  --json          print the summary as JSON on standard output, the rest on standard error\n"
    "  --help          this text\n".

-spec parse([string()]) -> {ok, options()} | help | {error, iodata()}.
parse(Args) ->
    parse(Args, #{csv => flights, id => none, shards => erlang:system_info(schedulers_online),
                 data_dir => default, json => false}).

parse([], #{csv := flights, id := none} = Options) ->
    {ok, Options#{id := <<"tailnum">>}};
parse([], #{csv := flights}) ->
    {error, "--id goes with --csv: it names a column of your own file"};
parse([], #{id := none, csv := File}) ->
    {error, ["--csv needs --id as well: which column of ", File, " names the entity?"]};
parse([], Options) ->
    {ok, Options};
parse([Help | _], _) when Help =:= "--help"; Help =:= "-h" ->
    help;
parse(["--json" | Args], Options) ->
    parse(Args, Options#{json := true});
parse(["--" ++ _ = Arg | Args], Options) ->
    case {string:split(Arg, "="), Args} of
        {[Name, Value], _} -> value(Name, Value, Args, Options);
        {[Name], [Value | Rest]} -> value(Name, Value, Rest, Options);
        {[Name], []} -> value(Name, missing, [], Options)
    end;
parse([Arg | _], _) ->
    {error, ["what is ", Arg, "?"]}.

value(Name, missing, _, _) ->
    {error, [Name, " needs a value, or is no option"]};
value("--csv", File, Args, Options) ->
    parse(Args, Options#{csv := File});
value("--id", Column, Args, Options) ->
    parse(Args, Options#{id := unicode:characters_to_binary(Column)});
value("--shards", Text, Args, Options) ->
    case string:to_integer(Text) of
        {N, ""} when N >= 1, N =< 1024 -> parse(Args, Options#{shards := N});
        _ -> {error, ["--shards takes a number from 1 to 1024, not ", Text]}
    end;
value("--data-dir", Dir, Args, Options) ->
    parse(Args, Options#{data_dir := Dir});
value(Name, _, _, _) ->
    {error, [Name, " is no option"]}.
