%% @private Checks all files of a context: of one that is running, or in a folder of one that nobody has open. The
%% calling process does it shard by shard, and the engine's threads read the files piece by piece.
-module(warp_verify).

-export([context/2, folder/4]).

-export_type([progress/0, report/0]).

%% How far the check of a shard is: so many of all steps are done. A step is a page of the file, and each row of the
%% log takes two. The journal comes last, and is one step.
-type progress() ::
    #{shard => non_neg_integer(), shards := non_neg_integer(), part := pages | entities | rows | journal,
      done := non_neg_integer(), total := non_neg_integer()}.
-type report() ::
    #{shards := pos_integer(), pages := non_neg_integer(), entities := non_neg_integer(), rows := non_neg_integer(),
      events := non_neg_integer(), snapshots := non_neg_integer(), records := non_neg_integer()}.
-type told() :: fun((progress()) -> term()).

%% How often a shard is begun again that was closed meanwhile, and the pause before.
-define(AGAIN, {500, 20}).
%% Up to how many damaged places stand in the message.
-define(MOST, 100).

%% @doc Checks a context that is running.
-spec context(warp_context:context(), told()) -> {ok, report()} | {error, term()}.
context(#{shards := Shards} = Context, Tell) ->
    Check = fun(N) -> warp_retry:while(fun is_closed/1, ?AGAIN, infinity, fun() -> shard(Context, N, Tell) end) end,
    Journal = fun() ->
        case warp_context:registered(Context, journal) of
            {ok, Handle} -> warp_nif:check_journal(Handle);
            none -> {error, interrupted}
        end
    end,
    all(lists:seq(0, Shards - 1), Check, Journal, Tell).

shard(#{shards := Shards} = Context, N, Tell) ->
    warp_context:with_shard(Context, N, fun(Handle) -> begun(warp_nif:check_shard(Handle), N, Shards, Tell) end).

is_closed({error, {shard_unavailable, _}}) -> true;
is_closed(_Result) -> false.

%% @doc Checks the files in the folder of a context that nobody has open. Kinds are those of its entities. Given are the
%% numbers of the shards that have to be there, or `all': each shard of the context.
-spec folder(binary(), [warp_nif:kind()], Given :: [non_neg_integer()] | all, told()) ->
    {ok, report()} | {error, term()}.
folder(Dir, Kinds, Given, Tell) ->
    case warp_nif:check_folder(Dir, Kinds, Given) of
        {ok, {Folder, Shards}} ->
            Count = length(Shards),
            Check = fun(N) -> begun(warp_nif:check_file(Folder, N), N, Count, Tell) end,
            try
                all(Shards, Check, fun() -> warp_nif:check_folder_journal(Folder) end, Tell)
            after
                ok = warp_nif:uncheck_folder(Folder)
            end;
        {error, _} = Error ->
            Error
    end.

begun({ok, none}, _N, _Shards, _Tell) ->
    {ok, [], {[], 0}};
begun({ok, Check}, N, Shards, Tell) ->
    next(Check, #{shard => N, shards => Shards}, Tell);
begun({error, _} = Error, _N, _Shards, _Tell) ->
    Error.

next(Check, Where, Tell) ->
    case warp_nif:check_next(Check) of
        {ok, {done, Counts, Damage}} ->
            {ok, Counts, Damage};
        {ok, {Part, Done, Total}} ->
            _ = Tell(Where#{part => Part, done => Done, total => Total}),
            next(Check, Where, Tell);
        {error, _} = Error ->
            Error
    end.

all(Numbers, Check, Journal, Tell) ->
    Nothing = maps:from_keys([pages, entities, rows, events, snapshots], 0),
    each(Numbers, Check, Journal, Tell, Nothing#{shards => length(Numbers)}, {[], 0}).

each([N | Ns], Check, Journal, Tell, Report, Damage) ->
    case Check(N) of
        {ok, Counts, Found} ->
            Add = fun({What, Count}, Sum) -> maps:update_with(What, fun(Sofar) -> Sofar + Count end, Sum) end,
            each(Ns, Check, Journal, Tell, lists:foldl(Add, Report, Counts), join(Damage, Found));
        {error, _} = Error ->
            Error
    end;
each([], _Check, Journal, Tell, #{shards := Shards} = Report, Damage) ->
    _ = Tell(#{shards => Shards, part => journal, done => 0, total => 1}),
    case Journal() of
        {ok, {Records, Found}} -> result(Report#{records => Records}, join(Damage, Found));
        {error, _} = Error -> Error
    end.

join({Listed, Others}, {More, OthersMore}) ->
    {Listed ++ More, Others + OthersMore}.

result(Report, {[], 0}) ->
    {ok, Report};
result(_Report, {[Only], 0}) ->
    {error, {corrupt, Only}};
result(_Report, {Listed, Others}) ->
    {Shown, Rest} = lists:split(min(?MOST, length(Listed)), Listed),
    Count = length(Listed) + Others,
    More = case length(Rest) + Others of
        0 -> [];
        N -> [io_lib:format("and ~b others", [N])]
    end,
    Message = [io_lib:format("~b places are damaged: ", [Count]), lists:join("; ", Shown ++ More)],
    {error, {corrupt, unicode:characters_to_binary(Message)}}.
