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

%% What `append.options' comes to.
-type options() ::
    {Expected :: any | no_stream | {seq, warp_core:seq()}, timeout(),
     Id :: none | {some, binary()}, Metadata :: none | {some, map()}}.
%% Gleam's `Subject'.
-type subject() :: {subject, pid(), Tag :: term()} | {named_subject, Name :: atom()}.

-spec start(map()) -> {ok, warp_core:ctx()} | {error, warp_error_ffi:error()}.
start(Settings) ->
    result(warp_core:start(Settings)).

-spec stop(warp_core:ctx()) -> nil.
stop(Ctx) ->
    ok = warp_core:stop(Ctx),
    nil.

-spec append(warp_core:entity(), warp_core:new_event()) -> {ok, warp_core:seq()} | {error, warp_error_ffi:error()}.
append(Entity, Event) ->
    result(warp_core:append(Entity, Event)).

-spec append_with(warp_core:entity(), warp_core:new_event(), options()) ->
    {ok, warp_core:seq()} | {error, warp_error_ffi:error()}.
append_with(Entity, Event, {Expected, Timeout, Id, Metadata}) ->
    Options = call_options(Expected, Timeout),
    result(warp_core:append(Entity, given(metadata, Metadata, given(id, Id, Event)), Options)).

-spec append_batch(warp_core:entity(), [warp_core:new_event()]) ->
    {ok, {warp_core:seq(), warp_core:seq()}} | {error, warp_error_ffi:error()}.
append_batch(Entity, Events) ->
    result(warp_core:append_batch(Entity, Events)).

-spec append_batch_with(warp_core:entity(), [warp_core:new_event()], options()) ->
    {ok, {warp_core:seq(), warp_core:seq()}} | {error, warp_error_ffi:error()}.
append_batch_with(_Entity, _Events, {_Expected, _Timeout, {some, _Id}, _Metadata}) ->
    {error, {bad_option, <<"id">>, {because, <<"each event of a batch has an id of its own">>}}};
append_batch_with(Entity, Events, {Expected, Timeout, none, Metadata}) ->
    Given = [given(metadata, Metadata, Event) || Event <- Events],
    result(warp_core:append_batch(Entity, Given, call_options(Expected, Timeout))).

call_options({seq, Seq}, Timeout) -> #{expected => Seq, timeout => Timeout};
call_options(Expected, Timeout) -> #{expected => Expected, timeout => Timeout}.

given(_Key, none, Event) -> Event;
given(Key, {some, Value}, Event) -> Event#{Key => Value}.

-spec decide(warp_core:entity(), binary(), timeout(), fun((term()) -> warp_core:decision(term()))) ->
    {ok, [warp_core:seq()]} | {error, warp_error_ffi:error()}.
decide(Entity, Aggregate, Timeout, Fun) ->
    result(warp_core:decide(Entity, Aggregate, Fun, #{timeout => Timeout})).

-spec cast(warp_core:entity(), binary(), fun((term()) -> warp_core:decision(term()))) ->
    {ok, nil} | {error, warp_error_ffi:error()}.
cast(Entity, Aggregate, Fun) ->
    nil(warp_core:cast(Entity, Aggregate, Fun)).

-spec pid(warp_core:entity()) -> {ok, pid()} | {error, warp_error_ffi:error()}.
pid(Entity) ->
    result(warp_core:pid(Entity)).

-spec get(warp_core:entity(), binary()) -> {ok, term()} | {error, warp_error_ffi:error()}.
get(Entity, Aggregate) ->
    result(warp_core:get(Entity, Aggregate)).

-spec state_at(warp_core:entity(), binary(), {seq, warp_core:seq()} | {time, warp_core:micros()}) ->
    {ok, term()} | {error, warp_error_ffi:error()}.
state_at(Entity, Aggregate, Point) ->
    result(warp_core:state_at(Entity, Aggregate, Point)).

-spec history(warp_core:entity(), warp_core:history_options()) ->
    {ok, [warp_core:event()]} | {error, warp_error_ffi:error()}.
history(Entity, Options) ->
    result(warp_core:history(Entity, Options)).

-spec export(warp_core:entity()) -> {ok, [warp_core:event()]} | {error, warp_error_ffi:error()}.
export(Entity) ->
    result(warp_core:export(Entity)).

-spec delete(warp_core:entity()) -> {ok, nil} | {error, warp_error_ffi:error()}.
delete(Entity) ->
    nil(warp_core:delete(Entity)).

-spec stats(warp_core:ctx()) -> {ok, tuple()} | {error, warp_error_ffi:error()}.
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

-spec decision([warp_core:new_event()], [{pid(), term()}]) -> warp_core:decision(none()).
decision(Events, Messages) -> {ok, Events, Messages}.

%% An error of this package comes back as it is; whatever else a function gives does not.
-spec failure(Error) -> {error, {warp_error, Error}}.
failure(Error) -> {error, {warp_error, Error}}.

-spec verdict({ok, nil} | {error, Reason}) -> ok | {error, Reason}.
verdict({ok, nil}) -> ok;
verdict({error, _} = Refused) -> Refused.

-spec raise_undecodable(binary(), list()) -> no_return().
raise_undecodable(Type, Errors) -> error({warp_undecodable, Type, Errors}).

%% As `process.send' sends it.
-spec message(pid(), subject(), Message) -> {pid(), {term(), Message}}.
message(Owner, {subject, _Owner, Tag}, Message) -> {Owner, {Tag, Message}};
message(Owner, {named_subject, Name}, Message) -> {Owner, {Name, Message}}.

-spec encode(binary(), fun((Event) ->
    {binary(), term()}), Event) -> {ok, warp_core:new_event()} | {error, warp_error_ffi:error()}.
encode(Aggregate, Encode, Event) ->
    try Encode(Event) of
        {Type, Payload} -> {ok, #{type => Type, payload => Payload, aggregate => Aggregate}}
    catch
        Class:Reason:Stack ->
            {error, {encode_failed, warp_text_ffi:crash({Class, Reason, Stack})}}
    end.

%% Events.

-spec event(binary(), map() | binary()) -> warp_core:new_event().
event(Type, Payload) -> #{type => Type, payload => Payload}.

-spec with_type(Event, binary()) -> Event when Event :: map().
with_type(Event, Type) -> Event#{type => Type}.

-spec with_payload(Event, term()) -> Event when Event :: map().
with_payload(Event, Payload) -> Event#{payload => Payload}.

-spec with_aggregate(Event, binary()) -> Event when Event :: map().
with_aggregate(Event, Name) -> Event#{aggregate => Name}.

-spec with_id(Event, binary()) -> Event when Event :: map().
with_id(Event, Id) -> Event#{id => Id}.

-spec with_schema_vsn(Event, integer()) -> Event when Event :: map().
with_schema_vsn(Event, Vsn) -> Event#{schema_vsn => Vsn}.

-spec with_metadata(Event, term()) -> Event when Event :: map().
with_metadata(Event, Metadata) -> Event#{metadata => Metadata}.

-spec event_type(map()) -> binary().
event_type(#{type := Type}) -> Type.

-spec event_payload(map()) -> map() | binary().
event_payload(#{payload := Payload}) -> Payload.

-spec event_aggregate(map()) -> binary().
event_aggregate(Event) -> maps:get(aggregate, Event, <<>>).

-spec event_id(map()) -> binary().
event_id(Event) -> maps:get(id, Event, <<>>).

-spec event_schema_vsn(map()) -> non_neg_integer().
event_schema_vsn(Event) -> maps:get(schema_vsn, Event, 0).

-spec event_metadata(map()) -> term().
event_metadata(Event) -> maps:get(metadata, Event, #{}).

-spec event_seq(map()) -> warp_core:seq().
event_seq(Event) -> maps:get(seq, Event, 0).

-spec event_recorded_at(map()) -> warp_core:micros().
event_recorded_at(Event) -> maps:get(recorded_at, Event, 0).

-spec identity(Term) -> Term.
identity(Term) -> Term.

-spec null() -> null.
null() -> null.

-spec infinity() -> infinity.
infinity() -> infinity.

-spec monotonic_milliseconds() -> integer().
monotonic_milliseconds() -> erlang:monotonic_time(millisecond).
