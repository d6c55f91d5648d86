%% One process that keeps thousands of appends under way. An entity has one request at a time, so
%% that its rows stay in order whatever has to be asked again; those that come meanwhile go into the
%% next request, together.
-module(warp_demo_loader).

-export([start_link/2, load/2, ids/1, stop/1]).

-define(LARGEST_BATCH, 500).
-define(RETRIES, 100).
-define(PAUSE_MS, 50).
%% How many rows are done before the owner is told.
-define(TELL, 200).

-type row() :: {pos_integer(), [binary()]}.

%% Tells the caller of rows that are done, with `{done, Counts}', or that an append has `{failed,
%% Reason}'.
-spec start_link(Ctx :: term(), Reader :: fun((pos_integer(), [binary()]) -> {binary(), map()} | none)) -> pid().
start_link(Ctx, Reader) ->
    Owner = self(),
    spawn_link(fun() ->
        loop(#{owner => Owner, ctx => Ctx, reader => Reader, requests => warp_core:reqids_new(),
               %% The rows of entities with a request under way that wait behind it: those that go
               %% alone, and all others, last first.
               waiting => #{}, entities => #{}, done => nothing()})
    end).

-spec load(pid(), [row()]) -> ok.
load(Loader, Rows) ->
    Loader ! {rows, Rows},
    ok.

%% The entities that have an event.
-spec ids(pid()) -> [binary()].
ids(Loader) ->
    Loader ! ids,
    receive {ids, Loader, Ids} -> Ids end.

-spec stop(pid()) -> true.
stop(Loader) ->
    unlink(Loader),
    exit(Loader, kill).

nothing() ->
    #{rows => 0, blank => 0, stored => 0, calls => 0, refused => []}.

loop(#{owner := Owner, requests := Requests, entities := Entities} = State) ->
    receive
        {rows, Rows} ->
            loop(tell(lists:foldl(fun row/2, State, Rows)));
        {again, Label} ->
            loop(request(Label, State));
        ids ->
            Owner ! {ids, self(), maps:keys(Entities)},
            loop(State);
        Message ->
            {Response, Label, Left} = warp_core:check_response(Message, Requests, true),
            case answered(Response, Label, State#{requests := Left}) of
                {failed, Reason} -> Owner ! {failed, Reason};
                Next -> loop(tell(Next))
            end
    end.

row({N, Fields}, #{reader := Reader, waiting := Waiting} = State) ->
    case Reader(N, Fields) of
        {Id, Event} when is_map_key(Id, Waiting) ->
            #{Id := {Alone, Queue}} = Waiting,
            State#{waiting := Waiting#{Id := {Alone, [{N, Event} | Queue]}}};
        {Id, Event} ->
            request({Id, [{N, Event}], ?RETRIES}, State#{waiting := Waiting#{Id => {[], []}}});
        _Blank ->
            count(#{rows => 1, blank => 1}, State)
    end.

request({Id, Run, _Retries} = Label, #{requests := Requests, ctx := Ctx, entities := Entities} = State) ->
    Entity = case Entities of
                 #{Id := Known} -> Known;
                 #{} -> warp_core:entity(Ctx, Id)
             end,
    Next = case Run of
               [{_, Event}] -> warp_core:append_request(Entity, Event, #{}, Label, Requests);
               _ -> warp_core:append_batch_request(Entity, [Event || {_, Event} <- Run], #{}, Label, Requests)
           end,
    State#{requests := Next}.

answered({ok, _}, {Id, Run, _}, #{ctx := Ctx, entities := Entities} = State) ->
    Known = case Entities of
                #{Id := _} -> Entities;
                #{} -> Entities#{Id => warp_core:entity(Ctx, Id)}
            end,
    next(Id, count(#{rows => length(Run), stored => length(Run), calls => 1}, State#{entities := Known}));
answered({error, Reason}, {Id, Run, Retries} = Label, State) ->
    case {kind(Reason), Run} of
        {passing, _} when Retries > 0 ->
            %% Where an append may or may not have been stored, its event ids make asking again safe.
            _ = erlang:send_after(?PAUSE_MS, self(), {again, setelement(3, Label, Retries - 1)}),
            State;
        {refusal, [{N, _}]} ->
            next(Id, count(#{rows => 1, calls => 1, refused => [{N, Reason}]}, State));
        {refusal, _} ->
            %% A refused batch stores nothing: each row has to be heard for itself.
            #{waiting := #{Id := {[], Queue}} = Waiting} = State,
            next(Id, count(#{calls => 1}, State#{waiting := Waiting#{Id := {Run, Queue}}}));
        _ ->
            {failed, Reason}
    end.

next(Id, #{waiting := Waiting} = State) ->
    case Waiting of
        #{Id := {[], []}} ->
            State#{waiting := maps:remove(Id, Waiting)};
        #{Id := {[Row | Alone], Queue}} ->
            request({Id, [Row], ?RETRIES}, State#{waiting := Waiting#{Id := {Alone, Queue}}});
        #{Id := {[], Queue}} ->
            {Run, Rest} = lists:split(min(?LARGEST_BATCH, length(Queue)), lists:reverse(Queue)),
            request({Id, Run, ?RETRIES}, State#{waiting := Waiting#{Id := {[], lists:reverse(Rest)}}})
    end.

count(More, #{done := Done} = State) ->
    State#{done := maps:fold(fun(refused, Rows, Acc) -> maps:update_with(refused, fun(R) -> Rows ++ R end, Acc);
                                (Key, N, Acc) -> maps:update_with(Key, fun(M) -> N + M end, Acc)
                             end, Done, More)}.

%% Often enough, and when nothing is under way.
tell(#{owner := Owner, done := #{rows := Rows} = Done, requests := Requests} = State) ->
    case Rows >= ?TELL orelse (Rows > 0 andalso warp_core:reqids_size(Requests) =:= 0) of
        true ->
            Owner ! {done, Done},
            State#{done := nothing()};
        false ->
            State
    end.

kind(overloaded) -> passing;
kind(timeout) -> passing;
kind(interrupted) -> passing;
kind({shard_unavailable, _}) -> passing;
kind({bad_entity_id, _}) -> refusal;
kind({bad_event, _, _, _}) -> refusal;
kind({batch_too_large_bytes, _, _}) -> refusal;
kind({rejected, _}) -> refusal;
kind({id_conflict, _}) -> refusal;
kind(_) -> fatal.
