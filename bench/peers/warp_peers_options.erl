%% The options of the comparison.
-module(warp_peers_options).

-export([parse/1, usage/0]).
-export_type([options/0]).

-type options() :: #{only := [string()], peers := [atom()], rounds := pos_integer(), seconds := pos_integer(),
                     shards := pos_integer(), events := pos_integer(), stored := pos_integer(),
                     json := string(), publish := boolean()}.

-define(DEFAULT_PEERS, [warp, postgres, redis, mnesia, sqlite, limit]).

-spec parse([string()]) -> {ok, options()} | help | {error, iodata()}.
parse(Args) ->
    try
        {ok, parse(Args, #{only => warp_peers_work:names(), peers => ?DEFAULT_PEERS, rounds => 3, seconds => 2,
                           shards => 4, events => 1000000, stored => 2000000, json => "_build/bench-peers.json",
                           publish => false})}
    catch
        throw:help -> help;
        throw:{bad, Why} -> {error, Why}
    end.

parse([], Options) -> Options;
parse([Help | _], _) when Help =:= "--help"; Help =:= "-h" -> throw(help);
parse(["--full" | Args], Options) -> parse(Args, Options#{events := 10000000, stored := 50000000});
parse(["--publish" | Args], Options) -> parse(Args, Options#{publish := true});
parse(["--only", Names | Args], Options) -> parse(Args, Options#{only := some_of(Names, warp_peers_work:names())});
parse(["--peers", Names | Args], Options) ->
    All = [atom_to_list(Name) || Name <- warp_peer:names()],
    parse(Args, Options#{peers := [list_to_existing_atom(Name) || Name <- some_of(Names, All)]});
parse(["--rounds", N | Args], Options) -> parse(Args, Options#{rounds := number("--rounds", N)});
parse(["--seconds", N | Args], Options) -> parse(Args, Options#{seconds := number("--seconds", N)});
parse(["--shards", N | Args], Options) -> parse(Args, Options#{shards := number("--shards", N)});
parse(["--events", N | Args], Options) -> parse(Args, Options#{events := multiple("--events", N, 10000)});
parse(["--stored", N | Args], Options) -> parse(Args, Options#{stored := multiple("--stored", N, 500)});
parse(["--json", File | Args], Options) -> parse(Args, Options#{json := File});
parse([Arg | _], _) -> throw({bad, ["unknown option, or one without its value: ", Arg]}).

some_of(Names, All) ->
    case string:lexemes(Names, ",") of
        [] ->
            throw({bad, ["name at least one of ", lists:join(", ", All)]});
        Some ->
            _ = [throw({bad, ["there is no ", Name, ", but ", lists:join(", ", All)]})
                 || Name <- Some, not lists:member(Name, All)],
            [Name || Name <- All, lists:member(Name, Some)]
    end.

number(Option, Text) ->
    case string:to_integer(Text) of
        {N, ""} when N > 0 -> N;
        _ -> throw({bad, [Option, " needs a positive whole number, and not ", Text]})
    end.

multiple(Option, Text, Of) ->
    case number(Option, Text) of
        N when N rem Of =:= 0 -> N;
        _ -> throw({bad, [Option, " needs a multiple of ", integer_to_list(Of), ", and not ", Text]})
    end.

-spec usage() -> iodata().
usage() ->
    ["usage: make bench-peers ARGS=\"[OPTION...]\"\n"
     "  --only WORK,...   some of: ", lists:join(", ", warp_peers_work:names()), "\n"
     "  --peers PEER,...  some of: ", lists:join(", ", [atom_to_list(Name) || Name <- warp_peer:names()]), "\n"
     "                    (without it all but mnesia_unsynced)\n"
     "  --rounds N        how often each figure is measured, in turn with the others (3)\n"
     "  --seconds N       how long each rate is measured (2)\n"
     "  --shards N        shards of Warp where they are not what is compared (4)\n"
     "  --events N        events among which one entity's are deleted (1000000)\n"
     "  --stored N        events that a store with many events has (2000000)\n"
     "  --full            the same as --events 10000000 --stored 50000000; needs 45 GB of disk\n"
     "  --dir DIR         the folder whose disk is measured (_build)\n"
     "  --json FILE       where the figures are written (_build/bench-peers.json)\n"
     "  --publish         put tables and a chart into docs/ as well\n"].
