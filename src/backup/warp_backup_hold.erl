%% @private Cuts of a context: the positions of all shards at one moment, when no commit is half way.
%%
%% In a cluster each node makes no commit from when it was asked until all have answered. So what was committed before
%% the cut on one node follows from nothing that was committed behind the cut on another one.
-module(warp_backup_hold).

-export([cut/1]).
-export([begin_here/3]).

-export_type([cut/0]).

%% When it was, and the last position of each shard.
-type cut() :: {warp_core:micros(), #{non_neg_integer() => non_neg_integer()}}.

%% How long a node holds commits up at most. Then the cut is none, and another one is made.
-define(HOLD_MS, 500).

%% @doc Makes a cut. Errors: `{shard_unavailable, N}'; `interrupted'; `{node_unavailable, Node}'; `not_at_once': a node
%% could not hold its commits up until all had answered, or a shard moved meanwhile; `timeout'.
-spec cut(warp_context:context()) -> {ok, cut()} | {error, term()}.
cut(#{ref := Ref, shards := Shards} = Context) ->
    All = lists:seq(0, Shards - 1),
    case warp_backup_nodes:of_shards(Context, All) of
        {ok, [{here, All}]} ->
            here(Context, All, fun(Journal, Handles) -> warp_nif:cut(Journal, Handles) end);
        {ok, Places} ->
            Deadline = warp_deadline:from(?HOLD_MS),
            Begun = warp_backup_nodes:ask_all(
                [{Place, {?MODULE, begin_here, [Ref, self(), Ns]}} || {Place, Ns} <- Places], Deadline),
            %% NOTE: all of them, also after an error.
            WereHeld = released([Pid || {ok, {Pid, _, _}} <- Begun], Deadline),
            together(Begun, WereHeld, All);
        {error, _} = Error ->
            Error
    end.

together(Begun, WereHeld, All) ->
    case [Error || {error, _} = Error <- Begun] of
        [] ->
            Positions = lists:append([Positions || {ok, {_, _, Positions}} <- Begun]),
            case WereHeld andalso lists:sort([N || {N, _} <- Positions]) =:= All of
                true -> {ok, {lists:max([Time || {ok, {_, Time, _}} <- Begun]), maps:from_list(Positions)}};
                false -> {error, not_at_once}
            end;
        [Error | _] ->
            Error
    end.

here(Context, Ns, Fun) ->
    Handles = [{N, warp_context:shard(Context, N)} || N <- Ns],
    case {warp_context:registered(Context, journal), [Error || {_, {error, _} = Error} <- Handles]} of
        {{ok, Journal}, []} ->
            case Fun(Journal, [Handle || {_, {ok, Handle}} <- Handles]) of
                {ok, {Time, _Run, Positions}} -> {ok, {Time, maps:from_list(Positions)}};
                {ok, {Time, _Run, Positions, Hold}} -> {ok, {Time, Positions, Hold}};
                {error, closed} -> {error, {shard_unavailable, hd(Ns)}};
                {error, _} = Error -> Error
            end;
        {none, _} ->
            {error, interrupted};
        {_, [Error | _]} ->
            Error
    end.

%% Whether all were still held.
released(Pids, Deadline) ->
    Asked = [begin
                 Alias = warp_call:alias(),
                 Pid ! {release, Alias},
                 Alias
             end || Pid <- Pids],
    Answers = [case warp_call:await(Alias, warp_deadline:left(Deadline)) of
                   {answer, WasHeld} ->
                       WasHeld;
                   none ->
                       ok = warp_call:give_up(#{Alias => []}),
                       false
               end || Alias <- Asked],
    lists:all(fun(WasHeld) -> WasHeld end, Answers).

%% @doc For another node, or this one, which cuts: holds commits of this node up until the process that is given is sent
%% `{release, Alias}', or the run ends, or ?HOLD_MS are over.
-spec begin_here(warp_context:ref(), Run :: pid(), [non_neg_integer()]) ->
    {ok, {pid(), warp_core:micros(), [{non_neg_integer(), non_neg_integer()}]}} | {error, term()}.
begin_here(Ref, Run, Ns) ->
    case warp_context:find(Ref) of
        {ok, Context} ->
            Alias = warp_call:alias(),
            _ = spawn(fun() -> hold(Context, Run, Ns, Alias) end),
            case warp_call:await(Alias, ?HOLD_MS) of
                {answer, Answer} ->
                    Answer;
                none ->
                    ok = warp_call:give_up(#{Alias => []}),
                    {error, interrupted}
            end;
        not_found ->
            {error, context_stopped}
    end.

hold(Context, Run, Ns, Alias) ->
    Watched = monitor(process, Run),
    case here(Context, Ns, fun(Journal, Handles) -> warp_nif:hold(Journal, Handles, ?HOLD_MS) end) of
        {ok, {Time, Positions, Hold}} ->
            ok = warp_call:answer(Alias, {ok, {self(), Time, Positions}}),
            receive
                {release, Asked} -> warp_call:answer(Asked, warp_nif:release_hold(Hold));
                {'DOWN', Watched, process, Run, _} -> warp_nif:release_hold(Hold)
            after 2 * ?HOLD_MS ->
                warp_nif:release_hold(Hold)
            end;
        {error, _} = Error ->
            warp_call:answer(Alias, Error)
    end.
