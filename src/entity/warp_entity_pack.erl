%% @private Checks and packs the events of an append for the log, in the caller's process.
-module(warp_entity_pack).

-export([rules/1, pack/4, pack_with/4, put_back/5, keep/3, release/1, is_large/1]).

-export_type([packed/0]).

%% `events' is `none' when no aggregate looks at the events before they are stored.
-type packed() :: #{
    packed := warp_nif:packed(),
    count := pos_integer(),
    bytes := pos_integer(),
    has_ids := boolean(),
    events := [warp_nif:packed_event()] | none
}.

%% More events than these are packed on a dirty scheduler at once.
-define(MANY, 100).
-define(MAX_EVENTS, 10000).
%% Releasing fewer bytes is not worth a call.
-define(LARGE, 4 * 1024).

%% @doc The rules that the events of these aggregates are packed by.
-spec rules(#{binary() => warp_aggregate:aggregate()}) -> warp_nif:rules().
rules(Aggregates) ->
    warp_nif:rules([{Name, warp_aggregate:version(Aggregate), warp_aggregate:judges(Aggregate)}
                    || {Name, Aggregate} <- maps:to_list(Aggregates)],
                   maps:to_list(warp_aggregate:aliases(Aggregates))).

%% @doc Checks and packs the events of one append. Events that name no aggregate belong to Default, or, if that is
%% `undefined', to the context's only aggregate. Errors: `{batch_too_large, Count, Max}', `{bad_event, Nth, Field,
%% Why}' and the other reasons of a refused event in `warp_core:write_error()'.
-spec pack(#{rules := warp_nif:rules(), atom() => term()}, binary(), binary() | undefined, [map()]) ->
    {ok, packed()} | {error, term()}.
pack(#{rules := Rules}, Id, Default, Events) ->
    pack_with(Rules, Id, Default, Events).

%% @doc As {@link pack/4}, by other rules than those of a context.
-spec pack_with(warp_nif:rules(), binary(), binary() | undefined, [map()]) ->
    {ok, packed()} | {error, term()}.
pack_with(Rules, Id, Default, Events) ->
    %% Erlang counts the events, and not the NIF, which would block its scheduler over a very long list.
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

%% @doc Packs events of one time that are put back, as a row of an import. Gives the bytes of the row, and the events as
%% terms. Errors: those of {@link pack/4}.
-spec put_back(warp_nif:import(), warp_nif:rules(), binary(), [map(), ...], {warp_core:seq(), warp_core:micros()}) ->
    {ok, Bytes :: pos_integer(), [warp_nif:packed_event()]} | {error, term()}.
put_back(Import, Rules, Id, Events, {First, Time}) ->
    Dirty = fun() -> warp_nif:import_add_dirty(Import, Rules, Id, Events, First, Time) end,
    Added =
        case length(Events) > ?MANY of
            true ->
                Dirty();
            false ->
                case warp_nif:import_add(Import, Rules, Id, Events, First, Time) of
                    dirty -> Dirty();
                    Result -> Result
                end
        end,
    case Added of
        {ok, Bytes, Packed, Parts} -> {ok, Bytes, compact(Packed, Parts, Bytes)};
        {error, _} = Error -> Error
    end.

result({ok, Packed, Count, Bytes, HasIds, Events, Parts}) ->
    {ok, #{packed => Packed, count => Count, bytes => Bytes, has_ids => HasIds,
           events => compact(Events, Parts, Bytes)}};
result({error, _} = Error) ->
    Error.

%% A part of an event that `apply' keeps must not keep the whole request in memory. A row of so many bytes has at most
%% four times as many terms.
compact(Events, Parts, Bytes) ->
    case Parts =:= many orelse lists:any(fun warp_compact:is_cut/1, Parts) of
        true -> warp_compact:term(Events, 4 * Bytes);
        false -> Events
    end.

%% @doc The append with only the events at these indexes, which are in order and count from 0. The caller gives the
%% same events as terms.
-spec keep(packed(), [non_neg_integer()], [warp_nif:packed_event()] | none) -> packed().
keep(#{packed := Packed0} = Pack, Indexes, Events) ->
    {Packed, Count, Bytes} = warp_nif:keep(Packed0, Indexes),
    Pack#{packed := Packed, count := Count, bytes := Bytes, events := Events}.

%% @doc Frees the memory of packed events that nobody needs any more, if they are large: a process may keep the
%% reference to them as garbage for long. The writer itself releases the events that it has stored.
-spec release(packed()) -> ok.
release(#{bytes := Bytes, packed := Packed}) when Bytes >= ?LARGE -> warp_nif:release(Packed);
release(#{}) -> ok.

%% @doc Whether {@link release/1} frees the memory of the packed events.
-spec is_large(packed()) -> boolean().
is_large(#{bytes := Bytes}) -> Bytes >= ?LARGE.
