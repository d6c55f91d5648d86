%% @private Removes the logs of sagas that have ended, once they are older than the context keeps them (`keep_sagas').
%% One row stays of each, which says how the saga ended and the hash of its steps: so its id stays used. There is one
%% such process for each shard. It works in pieces, with pauses between, so that nobody waits for it.
-module(warp_saga_sweeper).
-behaviour(gen_server).

-export([start_link/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, format_status/1]).

-include_lib("kernel/include/logger.hrl").

-record(state, {
    context :: warp_context:context(),
    n :: non_neg_integer(),
    %% Behind which closed saga the next piece begins; 0 is before the first one.
    after_saga = 0 :: non_neg_integer(),
    %% The reason in the last warning.
    warned = none :: term()
}).

%% How often the sweeper looks at most, and at least; and how many sagas it removes at once.
-define(EVERY_MS, 60000).
-define(SHORTEST_MS, 100).
-define(AT_ONCE, 100).
%% The pause between two pieces.
-define(PAUSE_MS, 10).

%% @doc Starts the sweeper of shard N.
-spec start_link(warp_context:membership(), non_neg_integer()) -> gen_server:start_ret().
start_link(Membership, N) ->
    gen_server:start_link(?MODULE, {Membership, N}, []).

-spec init({warp_context:membership(), non_neg_integer()}) -> {ok, #state{}, hibernate}.
init({Membership, N}) ->
    State = #state{context = warp_context:mine(Membership), n = N},
    ok = later(State),
    {ok, State, hibernate}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, {error, {unknown_request, term()}}, #state{}}.
handle_call(Stray, _From, State) ->
    ok = warp_stray:note(?MODULE, call, Stray),
    {reply, {error, {unknown_request, Stray}}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(Stray, State) ->
    ok = warp_stray:note(?MODULE, cast, Stray),
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {noreply, #state{}, hibernate}.
handle_info(sweep, #state{context = #{keep_sagas := Keep} = Context, n = N, after_saga = After} = State)
  when is_integer(Keep) ->
    case sweep(Context, N, os:system_time(microsecond) - Keep * 1000, After) of
        {ok, Next} when is_integer(Next) ->
            _ = erlang:send_after(?PAUSE_MS, self(), sweep),
            {noreply, State#state{after_saga = Next, warned = none}};
        {ok, done} ->
            ok = later(State),
            {noreply, State#state{after_saga = 0, warned = none}, hibernate};
        {error, Reason} ->
            ok = later(State),
            {noreply, warn(Reason, State), hibernate}
    end;
handle_info(Stray, State) ->
    ok = warp_stray:note(?MODULE, message, Stray),
    {noreply, State}.

-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(#{state := #state{n = N, after_saga = After}} = Status) ->
    warp_redact:status(Status, #{shard => N, after_saga => After});
format_status(Status) ->
    warp_redact:status(Status, #{}).

later(#state{context = #{keep_sagas := infinity}}) ->
    ok;
later(#state{context = #{keep_sagas := Keep}}) ->
    _ = erlang:send_after(max(?SHORTEST_MS, min(Keep, ?EVERY_MS)), self(), sweep),
    ok.

%% One piece: from where to go on.
sweep(Context, N, Before, After) ->
    {Prefix, _, _} = warp_saga_plan:kind(),
    case warp_context:shard(Context, N) of
        {ok, Handle} ->
            case warp_nif:closed_entities(Handle, Prefix, Before, After, ?AT_ONCE) of
                {ok, {Entities, Next}} ->
                    Queued = [queue(Context, Handle, Entity, Seq) || {Entity, Seq} <- Entities],
                    removed(length([queued || queued <- Queued]), Context, {ok, Next});
                {error, closed} ->
                    {ok, done};
                {error, _} = Error ->
                    Error
            end;
        {error, _NotOpen} ->
            {ok, done}
    end.

%% One that cannot be read stays as it is.
queue(Context, Handle, Entity, Seq) ->
    Id = warp_saga_plan:id(Entity),
    case warp_saga_log:read_shard(Handle, Id) of
        {ok, #{core := Core, seq := Seq, updated_at := Time}} ->
            Packed = warp_saga_log:pack_removed(Context, Id, Core),
            case warp_nif:replace(Handle, Entity, Seq, Packed, Time) of
                ok -> queued;
                {error, _} -> left
            end;
        _ ->
            left
    end.

%% The answers come through the owner of the journal; when that ends, the supervisor ends this process.
removed(0, _Context, Result) ->
    Result;
removed(Waiting, Context, Result) ->
    receive
        {warp_reply, {stored, _}} ->
            ok = warp_saga_table:count(removed, Context),
            removed(Waiting - 1, Context, Result);
        {warp_reply, {wrong_base, _}} ->
            removed(Waiting - 1, Context, Result);
        {warp_reply, {failed, closed}} ->
            removed(Waiting - 1, Context, {ok, done});
        {warp_reply, {failed, Reason}} ->
            removed(Waiting - 1, Context, {error, Reason})
    end.

warn(Reason, #state{warned = Reason} = State) ->
    State;
warn(Reason, #state{context = #{name := Name}, n = N} = State) ->
    ?LOG_WARNING("Warp: the logs of old sagas of shard ~b of context ~ts cannot be removed now. Warp tries again. ~ts",
                 [N, Name, warp_error:format_error(Reason)]),
    State#state{warned = Reason}.
