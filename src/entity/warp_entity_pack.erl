%% @private Events as a caller gives them, checked and packed for the log.
-module(warp_entity_pack).

-export([pack/4, pack_with/4, keep/3, release/1]).

-export_type([packed/0]).

%% `events' are none when no aggregate looks at them before they are stored.
-type packed() :: #{
    packed := warp_nif:packed(),
    count := pos_integer(),
    bytes := pos_integer(),
    has_ids := boolean(),
    events := [warp_nif:packed_event()] | none
}.

%% More than these are never tried on a normal scheduler.
-define(MANY, 100).
-define(MAX_EVENTS, 10000).
%% Fewer bytes are not worth a call.
-define(LARGE, 64 * 1024).

%% @doc Checks and packs the events of one append. Those that name no aggregate belong to
%% Default, or to the context's only one.
-spec pack(warp_context:context(), binary(), binary() | undefined, [map()]) ->
    {ok, packed()} | {error, term()}.
pack(#{rules := Rules}, Id, Default, Events) ->
    pack_with(Rules, Id, Default, Events).

%% @doc As `pack/4', by other rules.
-spec pack_with(warp_nif:rules(), binary(), binary() | undefined, [map()]) ->
    {ok, packed()} | {error, term()}.
pack_with(Rules, Id, Default, Events) ->
    %% Counted here, where a list of any length keeps no scheduler: not in the NIF.
    try length(Events) of
        Count when Count > ?MAX_EVENTS ->
            {error, {batch_too_large, Count, ?MAX_EVENTS}};
        Count when Count > ?MANY ->
            result(warp_nif:pack_dirty(warp_nif:own(Rules), Id, Default, Events));
        _ ->
            case warp_nif:pack(Rules, Id, Default, Events) of
                dirty -> result(warp_nif:pack_dirty(warp_nif:own(Rules), Id, Default, Events));
                Result -> result(Result)
            end
    catch
        error:badarg -> {error, {bad_event, 1, undefined, not_a_list}}
    end.

result({ok, Packed, Count, Bytes, HasIds, Events}) ->
    {ok, #{packed => Packed, count => Count, bytes => Bytes, has_ids => HasIds,
           events => compact(Events, Bytes)}};
result({error, _} = Error) ->
    Error.

%% What `apply' keeps of an event should not keep the request alive that the event was cut from.
%% Every term of it took at least a quarter of a byte in the row.
compact(none, _Bytes) -> none;
compact(Events, Bytes) -> warp_compact:term(Events, 4 * Bytes).

%% @doc Only the events at those indexes, which are in order and count from 0.
-spec keep(packed(), [non_neg_integer()], [warp_nif:packed_event()] | none) -> packed().
keep(#{packed := Packed0} = Pack, Indexes, Events) ->
    {Packed, Count, Bytes} = warp_nif:keep(Packed0, Indexes),
    Pack#{packed := Packed, count := Count, bytes := Bytes, events := Events}.

%% @doc Says that nobody needs these any more. A process that has a reference to large ones may keep
%% it as garbage for long; what the writer has stored it releases itself.
-spec release(packed()) -> ok.
release(#{bytes := Bytes, packed := Packed}) when Bytes >= ?LARGE -> warp_nif:release(Packed);
release(#{}) -> ok.
