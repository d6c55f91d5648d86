%% @private The log of a saga: turns entries into events and back, and reads a log. The first row of a log is
%% the plan ({@link warp_saga_plan}); entries stand behind it.
-module(warp_saga_log).

-export([pack/3, pack_removed/3, read/2, read_shard/2]).

-export_type([saga/0]).

%% A saga as its log has it.
-type saga() :: #{
    core := warp_saga_core:core(),
    %% Of the last event in its log.
    seq := warp_core:seq(),
    started_at := warp_core:micros(),
    updated_at := warp_core:micros()
}.

%% Of a larger reason the log keeps how its text begins.
-define(MAX_REASON_BYTES, 8192).
-define(SHORTENED_CHARS, 2000).
%% How long to pause before trying again to get memory for a row.
-define(RETRY, {20, infinity}).

%% @doc Packs entries as one row. Gives the entries as reading the row will give them.
-spec pack(warp_context:context(), binary(), [warp_saga_core:entry()]) ->
    {[warp_saga_core:entry()], warp_entity_pack:packed()}.
pack(#{saga_rules := Rules}, Id, Entries0) ->
    Entries = [shorten(Entry) || Entry <- Entries0],
    Aggregate = warp_saga_plan:aggregate(lists:any(fun is_closing/1, Entries)),
    Events = [#{type => Type, payload => Payload} || {Type, Payload} <- lists:map(fun event/1, Entries)],
    {Entries, pack_in_time(Rules, warp_saga_plan:entity_id(Id), Aggregate, Events)}.

%% @doc Packs the one row that is left of the log of a saga that has ended: how it did, why, and the hash of its steps.
%%
%% NOTE: one event. Who deletes an entity may clear payloads of steps in a log that is just being removed, and these
%% begin with the second event.
-spec pack_removed(warp_context:context(), binary(), warp_saga_core:core()) -> warp_nif:packed().
pack_removed(#{saga_rules := Rules}, Id, Core) ->
    #{hash := Hash} = warp_saga_core:plan(Core),
    Payload = (ended(warp_saga_core:result(Core)))#{<<"hash">> => Hash},
    Event = #{type => <<"Removed">>, payload => Payload},
    #{packed := Packed} = pack_in_time(Rules, warp_saga_plan:entity_id(Id), warp_saga_plan:aggregate(true), [Event]),
    Packed.

ended({How, Result}) ->
    End = case How of stuck -> <<"resolved">>; _ -> atom_to_binary(How) end,
    Why = [{atom_to_binary(Key), reason(Reason)} || {Key, #{reason := Reason}} <- maps:to_list(Result)],
    Note = [{<<"note">>, Note} || #{note := Note} <- [Result]],
    maps:from_list([{<<"end">>, End} | Why ++ Note]).

%% The engine packs a large row only once rows that were packed before hold less memory.
pack_in_time(Rules, Entity, Aggregate, Events) ->
    {ok, Packed} = warp_retry:while(fun(Result) -> Result =:= {error, overloaded} end, ?RETRY, infinity,
                                    fun() -> warp_entity_pack:pack_with(Rules, Entity, Aggregate, Events) end),
    Packed.

is_closing({committed, _}) -> true;
is_closing({compensated, _}) -> true;
is_closing({resolved, _}) -> true;
is_closing(_Entry) -> false.

shorten({compensating, {N, Reason}, Each}) ->
    {compensating, {N, short(Reason)},
     [case Of of {refused, Why} -> {refused, short(Why)}; _ -> Of end || Of <- Each]};
shorten({stuck, Reversed, {N, Reason}}) ->
    {stuck, Reversed, {N, short(Reason)}};
shorten(Entry) ->
    Entry.

short(Reason) ->
    case erlang:external_size(Reason) > ?MAX_REASON_BYTES of
        true -> {shortened, text(Reason)};
        false -> Reason
    end.

text(Term) ->
    Text = io_lib:format("~0tP", [Term, 100]),
    unicode:characters_to_binary(string:slice(Text, 0, ?SHORTENED_CHARS)).

event({committed, Seqs}) ->
    {<<"Committed">>, #{<<"seqs">> => Seqs}};
event({compensating, Failure, Each}) ->
    {<<"Compensating">>, (failure(Failure))#{<<"steps">> => [fate(Of) || Of <- Each]}};
event({compensated, Reversed}) ->
    {<<"Compensated">>, #{<<"reversed">> => pairs(Reversed)}};
event({stuck, Reversed, Failure}) ->
    {<<"Stuck">>, (failure(Failure))#{<<"reversed">> => pairs(Reversed)}};
event(retried) ->
    {<<"Retried">>, #{}};
event({resolved, Note}) ->
    {<<"Resolved">>, #{<<"note">> => Note}}.

failure({none, Reason}) -> reason(Reason);
failure({N, Reason}) -> (reason(Reason))#{<<"step">> => N}.

%% A reason stands in the log as text for people, and as a term for Warp.
reason(Reason) ->
    #{<<"reason">> => text(Reason), <<"term">> => base64:encode(warp_term:to_bytes(Reason))}.

fate(not_run) -> null;
fate({applied, Seq}) -> Seq;
fate({refused, Reason}) -> reason(Reason).

pairs(Reversed) ->
    [[N, Seq] || {N, Seq} <- Reversed].

entry(#{type := <<"Committed">>, payload := #{<<"seqs">> := Seqs}}) ->
    {committed, Seqs};
entry(#{type := <<"Compensating">>, payload := #{<<"steps">> := Each} = Payload}) ->
    {compensating, read_failure(Payload), [read_fate(Of) || Of <- Each]};
entry(#{type := <<"Compensated">>, payload := #{<<"reversed">> := Reversed}}) ->
    {compensated, read_pairs(Reversed)};
entry(#{type := <<"Stuck">>, payload := #{<<"reversed">> := Reversed} = Payload}) ->
    {stuck, read_pairs(Reversed), read_failure(Payload)};
entry(#{type := <<"Retried">>}) ->
    retried;
entry(#{type := <<"Resolved">>, payload := #{<<"note">> := Note}}) ->
    {resolved, Note}.

read_failure(Payload) ->
    {maps:get(<<"step">>, Payload, none), read_reason(Payload)}.

%% A term that cannot be read, such as one that was made by hand, is replaced by its text.
read_reason(#{<<"reason">> := Text, <<"term">> := Term}) ->
    try warp_term:from_bytes(base64:decode(Term)) of
        {ok, Reason} -> Reason;
        unreadable -> Text
    catch
        error:_ -> Text
    end.

read_fate(null) -> not_run;
read_fate(Seq) when is_integer(Seq) -> {applied, Seq};
read_fate(Refused) -> {refused, read_reason(Refused)}.

read_pairs(Pairs) ->
    [{N, Seq} || [N, Seq] <- Pairs].

%% @doc Reads a saga from the file of its shard.
-spec read(warp_context:context(), binary()) ->
    {ok, saga()} | {error, not_found | {shard_unavailable, non_neg_integer()} | warp_nif:reason()}.
read(Context, Id) ->
    case warp_context:shard_of(Context, warp_saga_plan:entity_id(Id)) of
        {ok, N} -> warp_context:with_shard(Context, N, fun(Handle) -> read_shard(Handle, Id) end);
        {error, _} = Error -> Error
    end.

%% @doc The same, for those who hold the handle of the saga's shard.
-spec read_shard(warp_nif:shard(), binary()) -> {ok, saga()} | {error, not_found | warp_nif:reason()}.
read_shard(Handle, Id) ->
    case warp_entity_replay:export(Handle, warp_saga_plan:entity_id(Id)) of
        {ok, []} -> {error, not_found};
        {ok, [#{recorded_at := Started} | _] = Events} ->
            try replayed(Id, Events) of
                Core ->
                    #{seq := Seq, recorded_at := Updated} = lists:last(Events),
                    {ok, #{core => Core, seq => Seq, started_at => Started, updated_at => Updated}}
            catch
                error:_ -> {error, {corrupt, <<"the log of saga ", Id/binary, " is not one of a saga">>}}
            end;
        {error, _} = Error -> Error
    end.

replayed(Id, [#{type := <<"Removed">>, payload := #{<<"hash">> := Hash, <<"end">> := End} = Payload}]) ->
    Phase = case End of
        <<"committed">> -> committed;
        <<"compensated">> -> compensated;
        <<"resolved">> -> resolved
    end,
    Why = maps:from_list([{Key, read_reason(maps:get(Name, Payload))}
                          || {Key, Name} <- [{failed, <<"failed">>}, {blocked, <<"blocked">>}],
                             is_map_key(Name, Payload)]),
    Note = maps:get(<<"note">>, Payload, none),
    warp_saga_core:removed(warp_saga_plan:removed(Id, Hash), Phase, Why#{note => Note});
replayed(Id, Events) ->
    {Plan, Rest} = warp_saga_plan:from_events(Id, Events),
    lists:foldl(fun(Event, Core) -> warp_saga_core:replay(entry(Event), Core) end,
                warp_saga_core:new(Plan), Rest).
