%% What the Gleam modules call of the engine. Terms are reshaped here, and nothing is decided.
%%
%% Contexts, entities and events are the engine's own terms, so the way of an append is one call
%% longer than from Erlang.
-module(warp_ffi).

-export([start/1, stop/1]).
-export([append/2, append_with/3, append_batch/2, append_batch_with/3, decide/4, cast/3, pid/1]).
-export([get/2, state_at/3, history/2, export/1, delete/1, stats/1]).
-export([decision/2, failure/1, verdict/1, message/3, encode/3, raise_undecodable/2]).
-export([event/2, with_type/2, with_payload/2, with_aggregate/2, with_id/2, with_schema_vsn/2, with_metadata/2]).
-export([event_type/1, event_payload/1, event_aggregate/1, event_id/1, event_schema_vsn/1, event_metadata/1]).
-export([event_seq/1, event_recorded_at/1]).
-export([identity/1, null/0, infinity/0, monotonic_milliseconds/0]).

start(Settings) ->
    result(warp_core:start(Settings)).

stop(Ctx) ->
    ok = warp_core:stop(Ctx),
    nil.

append(Entity, Event) ->
    result(warp_core:append(Entity, Event)).

append_with(Entity, Event, {Expected, Timeout, Id, Metadata}) ->
    Options = call_options(Expected, Timeout),
    result(warp_core:append(Entity, given(metadata, Metadata, given(id, Id, Event)), Options)).

append_batch(Entity, Events) ->
    result(warp_core:append_batch(Entity, Events)).

append_batch_with(_Entity, _Events, {_Expected, _Timeout, {some, _Id}, _Metadata}) ->
    {error, {bad_option, <<"id">>, {because, <<"each event of a batch has an id of its own">>}}};
append_batch_with(Entity, Events, {Expected, Timeout, none, Metadata}) ->
    Given = [given(metadata, Metadata, Event) || Event <- Events],
    result(warp_core:append_batch(Entity, Given, call_options(Expected, Timeout))).

call_options({seq, Seq}, Timeout) -> #{expected => Seq, timeout => Timeout};
call_options(Expected, Timeout) -> #{expected => Expected, timeout => Timeout}.

given(_Key, none, Event) -> Event;
given(Key, {some, Value}, Event) -> Event#{Key => Value}.

decide(Entity, Aggregate, Timeout, Fun) ->
    result(warp_core:decide(Entity, Aggregate, Fun, #{timeout => Timeout})).

cast(Entity, Aggregate, Fun) ->
    nil(warp_core:cast(Entity, Aggregate, Fun)).

pid(Entity) ->
    result(warp_core:pid(Entity)).

get(Entity, Aggregate) ->
    result(warp_core:get(Entity, Aggregate)).

state_at(Entity, Aggregate, Point) ->
    result(warp_core:state_at(Entity, Aggregate, Point)).

history(Entity, Options) ->
    result(warp_core:history(Entity, Options)).

export(Entity) ->
    result(warp_core:export(Entity)).

delete(Entity) ->
    nil(warp_core:delete(Entity)).

stats(Ctx) ->
    case warp_core:stats(Ctx) of
        #{context := Context, resident_entities := Resident} = All ->
            %% Of shards that are being opened again there are no counters.
            [Appends, Events, Commits, Failed, Erased, Depth, Bytes] =
                [maps:get(Key, All, 0)
                 || Key <- [appends, events, commits, failed_commits, erased_entities, queue_depth,
                            file_bytes]],
            {ok, {stats, Context, Resident, Appends, Events, Commits, Failed, Erased, Depth, Bytes,
                  All}};
        {error, _} = Error -> result(Error)
    end.

%% Results of the engine as Gleam's.

result({ok, _} = Ok) -> Ok;
result({error, Reason}) -> {error, warp_error_ffi:reason(Reason)}.

nil(ok) -> {ok, nil};
nil({error, Reason}) -> {error, warp_error_ffi:reason(Reason)}.

%% What the engine takes from the functions that it calls.

decision(Events, Messages) -> {ok, Events, Messages}.

%% An error of this package comes back as it is; whatever else a function gives does not.
failure(Error) -> {error, {warp_error, Error}}.

verdict({ok, nil}) -> ok;
verdict({error, _} = Refused) -> Refused.

raise_undecodable(Type, Errors) -> error({warp_undecodable, Type, Errors}).

%% As `process.send' sends it.
message(Owner, {subject, _Owner, Tag}, Message) -> {Owner, {Tag, Message}};
message(Owner, {named_subject, Name}, Message) -> {Owner, {Name, Message}}.

encode(Aggregate, Encode, Event) ->
    try Encode(Event) of
        {Type, Payload} -> {ok, #{type => Type, payload => Payload, aggregate => Aggregate}}
    catch
        Class:Reason:Stack ->
            {error, {encode_failed, warp_error_ffi:crash({Class, Reason, Stack})}}
    end.

%% Events.

event(Type, Payload) -> #{type => Type, payload => Payload}.

with_type(Event, Type) -> Event#{type => Type}.
with_payload(Event, Payload) -> Event#{payload => Payload}.
with_aggregate(Event, Name) -> Event#{aggregate => Name}.
with_id(Event, Id) -> Event#{id => Id}.
with_schema_vsn(Event, Vsn) -> Event#{schema_vsn => Vsn}.
with_metadata(Event, Metadata) -> Event#{metadata => Metadata}.

event_type(#{type := Type}) -> Type.
event_payload(#{payload := Payload}) -> Payload.
event_aggregate(Event) -> maps:get(aggregate, Event, <<>>).
event_id(Event) -> maps:get(id, Event, <<>>).
event_schema_vsn(Event) -> maps:get(schema_vsn, Event, 0).
event_metadata(Event) -> maps:get(metadata, Event, #{}).
event_seq(Event) -> maps:get(seq, Event, 0).
event_recorded_at(Event) -> maps:get(recorded_at, Event, 0).

identity(Term) -> Term.
null() -> null.
infinity() -> infinity.
monotonic_milliseconds() -> erlang:monotonic_time(millisecond).
