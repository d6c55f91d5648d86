%% The engine's calls for the Gleam modules. This module reshapes terms and decides nothing.
%%
%% Contexts, entities and events are the engine's own terms, so an append makes one call more than from
%% Erlang.
-module(warp_ffi).

-export([start/1, start_link/1, named/1, stop/1]).
-export([append/2, append/3, append_batch/3, decide/4, cast/3, pid/1, shard_of/1]).
-export([get/2, get/3, state_at/4, history/2, export/2, import_events/3]).
-export([delete/1, delete_with_receipt/1, correct_time/3]).
-export([decision/2, failure/1, verdict/1, message/3, encode/3, raise_undecodable/2]).
-export([identity/1, null/0, infinity/0, monotonic_milliseconds/0]).

%% Gleam's `Subject'.
-type subject() :: {subject, pid(), Tag :: term()} | {named_subject, Name :: atom()}.

-spec start(map()) -> {ok, warp_core:ctx()} | {error, warp_error_ffi:error()}.
start(Settings) ->
    result(warp_core:start(Settings)).

-spec start_link(map()) -> {ok, {pid(), warp_core:ctx()}} | {error, warp_error_ffi:error()}.
start_link(Settings) ->
    case warp_core:start_link(Settings) of
        {ok, Pid, Ctx} -> {ok, {Pid, Ctx}};
        {error, Reason} -> {error, warp_error_ffi:reason(Reason)}
    end.

-spec named(binary()) -> {ok, warp_core:ctx()} | {error, warp_error_ffi:error()}.
named(Name) ->
    result(warp_core:context(Name)).

-spec stop(warp_core:ctx()) -> nil.
stop(Ctx) ->
    ok = warp_core:stop(Ctx),
    nil.

-spec append(warp_core:entity(), warp_core:new_event()) -> {ok, warp_core:seq()} | {error, warp_error_ffi:error()}.
append(Entity, Event) ->
    result(warp_core:append(Entity, Event)).

-spec append(warp_core:entity(), warp_core:new_event(), warp_core:append_options()) ->
    {ok, warp_core:seq()} | {error, warp_error_ffi:error()}.
append(Entity, Event, Options) ->
    result(warp_core:append(Entity, Event, Options)).

-spec append_batch(warp_core:entity(), [warp_core:new_event()], warp_core:append_options()) ->
    {ok, {warp_core:seq(), warp_core:seq()}} | {error, warp_error_ffi:error()}.
append_batch(Entity, Events, Options) ->
    result(warp_core:append_batch(Entity, Events, Options)).

-spec decide(warp_core:entity(), binary(), fun((term()) -> warp_core:decision(term())),
             warp_core:decide_options()) ->
    {ok, [warp_core:seq()]} | {error, warp_error_ffi:error()}.
decide(Entity, Aggregate, Fun, Options) ->
    result(warp_core:decide(Entity, Aggregate, Fun, Options)).

-spec cast(warp_core:entity(), binary(), fun((term()) -> warp_core:decision(term()))) ->
    {ok, nil} | {error, warp_error_ffi:error()}.
cast(Entity, Aggregate, Fun) ->
    nil(warp_core:cast(Entity, Aggregate, Fun)).

-spec shard_of(warp_core:entity()) -> {ok, non_neg_integer()} | {error, warp_error_ffi:error()}.
shard_of(Entity) ->
    result(warp_core:shard_of(Entity)).

-spec pid(warp_core:entity()) -> {ok, pid()} | {error, warp_error_ffi:error()}.
pid(Entity) ->
    result(warp_core:pid(Entity)).

-spec get(warp_core:entity(), binary()) -> {ok, term()} | {error, warp_error_ffi:error()}.
get(Entity, Aggregate) ->
    result(warp_core:get(Entity, Aggregate)).

-spec get(warp_core:entity(), binary(), warp_core:read_options()) ->
    {ok, term()} | {error, warp_error_ffi:error()}.
get(Entity, Aggregate, Options) ->
    result(warp_core:get(Entity, Aggregate, Options)).

-spec state_at(warp_core:entity(), binary(), {seq, warp_core:seq()} | {time, warp_core:micros()},
               warp_core:read_options()) ->
    {ok, term()} | {error, warp_error_ffi:error()}.
state_at(Entity, Aggregate, Point, Options) ->
    result(warp_core:state_at(Entity, Aggregate, Point, Options)).

-spec history(warp_core:entity(), warp_core:history_options()) ->
    {ok, [warp_core:event()]} | {error, warp_error_ffi:error()}.
history(Entity, Options) ->
    result(warp_core:history(Entity, Options)).

-spec export(warp_core:entity(), warp_core:read_options()) ->
    {ok, [warp_core:event()]} | {error, warp_error_ffi:error()}.
export(Entity, Options) ->
    result(warp_core:export(Entity, Options)).

-spec import_events(warp_core:entity(), [warp_core:exported_event()], #{timeout => timeout()}) ->
    {ok, warp_core:seq()} | {error, warp_error_ffi:error()}.
import_events(Entity, Events, Options) ->
    result(warp_core:import(Entity, Events, Options)).

-spec delete(warp_core:entity()) -> {ok, nil} | {error, warp_error_ffi:error()}.
delete(Entity) ->
    nil(warp_core:delete(Entity)).

-spec delete_with_receipt(warp_core:entity()) -> {ok, tuple()} | {error, warp_error_ffi:error()}.
delete_with_receipt(Entity) ->
    case warp_core:delete(Entity, #{receipt => true}) of
        {ok, #{entity := Id, shard := N, events := Events, erased_at := At, erased_from := Parts, nodes := Nodes,
               backups := Backups}} ->
            {ok, {receipt, Id, N, Events, At, [atom_to_binary(Part) || Part <- Parts],
                  [atom_to_binary(Node) || Node <- Nodes],
                  [{receipt_backup, To, Cut} || #{to := To, cut := Cut} <- Backups]}};
        {error, _} = Error ->
            result(Error)
    end.

-spec correct_time(warp_core:entity(), warp_core:seq(), warp_core:micros()) ->
    {ok, nil} | {error, warp_error_ffi:error()}.
correct_time(Entity, Seq, Micros) ->
    nil(warp_core:correct_time(Entity, Seq, Micros)).

%% The engine's results as Gleam's.

result({ok, _} = Ok) -> Ok;
result({error, Reason}) -> {error, warp_error_ffi:reason(Reason)}.

nil(ok) -> {ok, nil};
nil({error, Reason}) -> {error, warp_error_ffi:reason(Reason)}.

%% Results of Gleam's functions, for the engine, which calls them.

-spec decision([warp_core:new_event()], [{pid(), term()}]) -> warp_core:decision(none()).
decision(Events, Messages) -> {ok, Events, Messages}.

%% `warp_error_ffi' unpacks it: an error of this package reaches the caller as it is.
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
            {error, {encode_failed, warp_error_ffi:crash({Class, Reason, Stack})}}
    end.

-spec identity(Term) -> Term.
identity(Term) -> Term.

-spec null() -> null.
null() -> null.

-spec infinity() -> infinity.
infinity() -> infinity.

-spec monotonic_milliseconds() -> integer().
monotonic_milliseconds() -> erlang:monotonic_time(millisecond).
