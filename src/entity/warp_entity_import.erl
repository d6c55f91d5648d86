%% @private Events of an entity that are put back as they were: checks them, packs them row by row and folds them, in
%% the caller's process; and says whether an entity has them already.
%%
%% All of them are stored in one commit, which is what bounds them: a reader sees all or none, whatever happens.
-module(warp_entity_import).

-export([prepare/4, compare/5, release/1]).

-export_type([import/0]).

%% Events that are ready to be stored, and what they fold to.
-type import() :: #{
    import := warp_nif:import(),
    count := pos_integer(),
    bytes := pos_integer(),
    %% The time of the last event.
    time := warp_core:micros(),
    states := warp_aggregate:states()
}.
-type context() :: #{aggregates := #{binary() => warp_aggregate:aggregate()}, aliases := warp_aggregate:aliases(),
                     atom() => term()}.

%% Not more rows of a shard than may wait to be brought into its file, and half of the bytes that may wait for the
%% writer, so that there is room for others beside them.
-define(MAX_EVENTS, 100000).
-define(MAX_BYTES, 32 * 1024 * 1024).
%% What one row may have.
-define(MAX_ROW, 10000).
-define(PAGE, 1000).
-define(COMPACT_BUDGET, 1000000).

%% What all rows have in common.
-record(common, {
    id :: binary(),
    import :: warp_nif:import(),
    rules :: warp_nif:rules(),
    deadline :: warp_deadline:deadline()
}).

%% @doc Checks events, the first of which has the seq 1, and packs them; folds them into the states of an entity without
%% events. `validate' is not called. Errors are those of `warp_core:import/3' that concern the events, the functions of
%% the aggregates, and `timeout'.
-spec prepare(context(), binary(), term(), warp_deadline:deadline()) -> {ok, import()} | {error, term()}.
prepare(#{aggregates := Aggregates, aliases := Aliases} = Context, Id, Given, Deadline) ->
    case checked(Given, Id) of
        {ok, Events} ->
            %% Who folds facts does not ask whether they may be.
            Folding = maps:map(fun(_, Aggregate) -> maps:remove(validate, Aggregate) end, Aggregates),
            Fold = fun(Packed, First, Time, States) ->
                warp_aggregate:live(Folding, Id, current(Packed, Aliases), First - 1, Time, States)
            end,
            #common{import = Import} = Common = common(Context, Id, Deadline),
            case rows(Events, 1, 0, Fold, warp_aggregate:initial(Aggregates), Common) of
                {ok, Bytes, States} ->
                    #{recorded_at := Time} = lists:last(Events),
                    {ok, #{import => Import, count => length(Events), bytes => Bytes, time => Time,
                           states => warp_compact:term(States, ?COMPACT_BUDGET)}};
                {error, _} = Error ->
                    ok = warp_nif:import_release(Import),
                    Error
            end;
        {error, _} = Error ->
            Error
    end.

%% @doc Whether the log of an entity begins with these events, with all that they have: the seq of the first one that
%% differs or that the log does not have. Errors are those of {@link prepare/4}, and of reading.
-spec compare(context(), warp_nif:shard(), binary(), term(), warp_deadline:deadline()) ->
    same | {differs, warp_core:seq()} | {error, term()}.
compare(Context, Handle, Id, Given, Deadline) ->
    case checked(Given, Id) of
        {ok, Events} ->
            #common{import = Import} = Common = common(Context, Id, Deadline),
            Same = fun(Packed, First, Time, Log) -> same(Packed, {Id, First, Time}, Handle, Log) end,
            Compared = rows(Events, 1, 0, Same, {0, [], 1}, Common),
            ok = warp_nif:import_release(Import),
            case Compared of
                {ok, _, _} -> same;
                {error, {differs, _} = Differs} -> Differs;
                {error, changed} -> {differs, 1};
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

%% @doc Frees the memory of events that nobody needs any more.
-spec release(import()) -> ok.
release(#{import := Import}) -> warp_nif:import_release(Import).

%% Every event is given back as a term, whatever its aggregate does with it; and also those of earlier names are kept
%% under these.
common(#{aggregates := Aggregates, aliases := Aliases}, Id, Deadline) ->
    Names = maps:keys(Aggregates) ++ maps:keys(Aliases),
    Version = fun(Name) -> warp_aggregate:version(maps:get(maps:get(Name, Aliases, Name), Aggregates)) end,
    Rules = warp_nif:rules([{Name, Version(Name), true} || Name <- Names], maps:to_list(Aliases)),
    #common{id = Id, import = warp_nif:import_new(os:system_time(microsecond)), rules = Rules, deadline = Deadline}.

current(Packed, Aliases) when map_size(Aliases) =:= 0 -> Packed;
current(Packed, Aliases) ->
    [case Aliases of
         #{Stored := Name} -> setelement(3, Event, Name);
         #{} -> Event
     end || {_, _, Stored, _, _, _} = Event <- Packed].

%% ------------------------------------------------------------------ The events

checked(Given, Id) ->
    try length(Given) of
        0 -> {error, empty_batch};
        Count when Count > ?MAX_EVENTS -> {error, {import_too_large, Count, ?MAX_EVENTS}};
        _ -> numbered(Given, 1, Id, #{}, [])
    catch
        error:badarg -> {error, {bad_event, 1, undefined, not_a_list}}
    end.

%% With times, seqs from 1 on, and ids of which none comes twice.
numbered([], _N, Id, _Seen, Checked) ->
    Events = lists:reverse(Checked),
    case foreign(Events, Id) of
        none -> {ok, [maps:remove(entity, Event) || Event <- Events]};
        Other -> {error, {bad_event, 1, id, {of_other_entity, Other}}}
    end;
numbered([Event | Events], N, Id, Seen, Checked) ->
    case fields(Event, N, Id) of
        ok ->
            case Event of
                #{id := Given} when is_map_key(Given, Seen) -> {error, {duplicate_event_id, Given}};
                #{id := Given} -> numbered(Events, N + 1, Id, Seen#{Given => []}, [Event | Checked]);
                #{} -> numbered(Events, N + 1, Id, Seen, [Event | Checked])
            end;
        {Field, Why} ->
            {error, {bad_event, N, Field, Why}}
    end.

fields(#{entity := Other}, _N, Id) when Other =/= Id -> {entity, {not_one_of, [Id]}};
fields(#{seq := N, recorded_at := Time}, N, _Id) ->
    case warp_entity_options:time(Time) of
        {ok, _} -> ok;
        {error, Why} -> {recorded_at, Why}
    end;
fields(#{seq := _, recorded_at := _}, N, _Id) -> {seq, {not_one_of, [N]}};
fields(#{seq := _}, _N, _Id) -> {recorded_at, missing};
fields(#{}, _N, _Id) -> {seq, missing};
fields(_, _N, _Id) -> {undefined, not_a_map}.

%% The other entity whose events these are: all have the ids of events without ids, and none says whose it is. Who means
%% it so says `entity'.
foreign([#{id := First} = Event | _] = Events, Id) when
    is_binary(First), byte_size(First) > 2, not is_map_key(entity, Event)
->
    case split_binary(First, byte_size(First) - 2) of
        {Other, <<"#1">>} ->
            case Other =/= Id andalso lists:all(fun(Each) -> is_derived(Each, Other) end, Events) of
                true -> Other;
                false -> none
            end;
        _ ->
            none
    end;
foreign(_Events, _Id) ->
    none.

is_derived(#{id := Id, seq := Seq}, Entity) -> Id =:= <<Entity/binary, "#", (integer_to_binary(Seq))/binary>>;
is_derived(_Event, _Entity) -> false.

%% ------------------------------------------------------------------ Rows

%% Packs events as rows, each of one time, and calls Fun with the packed events of each, the seq of the first, the time,
%% and what it gave before.
rows([], _First, Bytes, _Fun, Acc, _Common) ->
    {ok, Bytes, Acc};
rows(Events, First, Bytes, Fun, Acc, #common{deadline = Deadline} = Common) ->
    {Row, Rest} = of_one_time(Events, ?MAX_ROW, []),
    case warp_deadline:is_over(Deadline) of
        true ->
            {error, timeout};
        false ->
            case row(Row, First, Bytes, Fun, Acc, Common) of
                {ok, Sum, Next} -> rows(Rest, First + length(Row), Sum, Fun, Next, Common);
                {error, _} = Error -> Error
            end
    end.

of_one_time([#{recorded_at := Time} = Event, #{recorded_at := Time} = Next | Events], Room, Row) when Room > 1 ->
    of_one_time([Next | Events], Room - 1, [Event | Row]);
of_one_time([Event | Events], _Room, Row) ->
    {lists:reverse([Event | Row]), Events}.

row([#{recorded_at := Time} | _] = Row, First, Bytes, Fun, Acc, Common) ->
    #common{id = Id, import = Import, rules = Rules} = Common,
    case warp_entity_pack:put_back(Import, Rules, Id, Row, {First, Time}) of
        {ok, More, _} when Bytes + More > ?MAX_BYTES ->
            {error, {import_too_large_bytes, Bytes + More, ?MAX_BYTES}};
        {ok, More, Packed} ->
            case Fun(Packed, First, Time, Acc) of
                {ok, Next} -> {ok, Bytes + More, Next};
                {error, _} = Error -> Error
            end;
        %% Written anew, some numbers take more bytes than they had.
        {error, {batch_too_large_bytes, _, _}} when tl(Row) =/= [] ->
            {Front, Back} = lists:split(length(Row) div 2, Row),
            case row(Front, First, Bytes, Fun, Acc, Common) of
                {ok, Sum, Next} -> row(Back, First + length(Front), Sum, Fun, Next, Common);
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

%% ------------------------------------------------------------------ What the log has

same([], _Common, _Handle, Log) ->
    {ok, Log};
same([Packed | Events], {Id, Seq, Time} = Common, Handle, Log) ->
    Event = warp_aggregate:event(Packed, Id, Seq, Time),
    case next(Handle, Id, Log) of
        {ok, Event, Rest} -> same(Events, setelement(2, Common, Seq + 1), Handle, Rest);
        {ok, _, _} -> {error, {differs, Seq}};
        {error, _} = Error -> Error
    end.

next(_Handle, _Id, {Incarnation, [Event | Events], Next}) ->
    {ok, Event, {Incarnation, Events, Next}};
next(_Handle, _Id, {_, [], done} = Log) ->
    {ok, none, Log};
next(Handle, Id, {Incarnation, [], From}) ->
    case warp_nif:page(Handle, Id, Incarnation, From, ?PAGE, forward) of
        {ok, {_, [], _}} -> {ok, none, {Incarnation, [], done}};
        {ok, {Found, Events, Next}} -> next(Handle, Id, {Found, Events, Next});
        {error, _} = Error -> Error
    end.
