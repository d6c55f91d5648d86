%% @private Calls the user's functions of an aggregate, and makes errors of it when they refuse, crash or return
%% something wrong. Pure, except for these functions.
-module(warp_aggregate).

-export([version/1, folds/1, judges/1, initial/1, live/6, replay/4, follow/3, migrate/2, failed/4]).
-export([aliases/1, stored_names/2, current/2, event/4]).

-export_type([aggregate/0, states/0, aliases/0, reason/0]).

-type aggregate() :: #{
    name := binary(),
    initial_state := term(),
    apply => fun((State :: term(), warp_core:event()) -> State :: term()),
    version => pos_integer(),
    aliases => [binary()],
    validate => fun((State :: term(), warp_core:event()) -> ok | {error, term()}),
    migrate => fun((warp_core:event(), pos_integer()) -> warp_core:event()),
    project => fun((binary(), term(), warp_core:event()) -> [term()])
}.
-type aggregates() :: #{binary() => aggregate()}.
%% By aggregate: its state, or the reason why folding its events failed.
-type states() :: #{binary() => {ok, term()} | {error, reason()}}.
%% The names that aggregates had earlier, each with the name of now.
-type aliases() :: #{binary() => binary()}.
-type reason() ::
    {rejected, term()}
    | {validate_failed | apply_failed | migrate_failed, {error | exit | throw, term(), list()}}
    | {bad_return, validate | migrate, term()}
    %% The function's module was reloaded. Pass the function as `fun M:F/A', or restart the context.
    | {stale_function, #{aggregate := binary(), function := atom(), module := module(),
                         'fun' := binary()}}.

%% @doc The version of an aggregate's schema and state.
-spec version(aggregate()) -> pos_integer().
version(Aggregate) ->
    maps:get(version, Aggregate, 1).

%% @doc Whether events change the aggregate's state. A pure log has no state to change.
-spec folds(aggregate()) -> boolean().
folds(#{apply := _}) -> true;
folds(#{}) -> false.

%% @doc Whether new events are looked at before they are stored.
-spec judges(aggregate()) -> boolean().
judges(#{validate := _}) -> true;
judges(Aggregate) -> folds(Aggregate).

%% @doc The earlier names of aggregates.
-spec aliases(aggregates()) -> aliases().
aliases(Aggregates) ->
    maps:from_list([{Old, Name} || {Name, #{aliases := Olds}} <- maps:to_list(Aggregates), Old <- Olds]).

%% @doc All names that events of these aggregates are stored under.
-spec stored_names(Names :: [binary()], aliases()) -> [binary()].
stored_names(Names, Aliases) ->
    Names ++ [Old || {Old, Name} <- maps:to_list(Aliases), lists:member(Name, Names)].

%% @doc The events with the name of now where they were stored under an earlier one.
-spec current([warp_core:event()], aliases()) -> [warp_core:event()].
current(Events, Aliases) when map_size(Aliases) =:= 0 ->
    Events;
current(Events, Aliases) ->
    [case Aliases of
         #{Stored := Name} -> Event#{aggregate := Name};
         #{} -> Event
     end || #{aggregate := Stored} = Event <- Events].

%% @doc The states before the first event.
-spec initial(aggregates()) -> states().
initial(Aggregates) ->
    maps:map(fun(_Name, #{initial_state := State}) -> {ok, State} end, Aggregates).

%% @doc Migrates, validates and applies new events of an entity. They get their seqs, from Seq + 1 on, and the time.
%% Gives the states after them, or the reason of the first event that was refused.
-spec live(aggregates(), binary(), [warp_nif:packed_event()], warp_core:seq(), warp_core:micros(),
           states()) -> {ok, states()} | {error, reason()}.
live(Aggregates, Id, Events, Seq, Time, States) ->
    live(Aggregates, {<<Id:(byte_size(Id))/binary, $#>>, Time}, Events, Seq, States).

live(_Aggregates, _Common, [], _Seq, States) ->
    {ok, States};
live(Aggregates, Common, [{_, _, Name, _, _, _} | _] = Events, Seq, States) ->
    case States of
        #{Name := {ok, State}} ->
            #{Name := Aggregate} = Aggregates,
            case run(Events, Name, Aggregate, Common, Seq, State) of
                {ok, Next, Rest, Last} ->
                    live(Aggregates, Common, Rest, Last, States#{Name := {ok, Next}});
                {error, _} = Error ->
                    Error
            end;
        #{Name := {error, _} = Error} ->
            Error
    end.

%% The events up to the first one of another aggregate.
run([{_, _, Name, _, _, _} = Packed | Events], Name, Aggregate, Common, Seq0, State) ->
    Seq = Seq0 + 1,
    case accept(Aggregate, State, event(Packed, Common, Seq)) of
        {ok, Next} -> run(Events, Name, Aggregate, Common, Seq, Next);
        {error, _} = Error -> Error
    end;
run(Events, _Name, _Aggregate, _Common, Seq, State) ->
    {ok, State, Events, Seq}.

%% @doc A packed event as reading it gives it.
-spec event(warp_nif:packed_event(), Entity :: binary(), warp_core:seq(), warp_core:micros()) -> warp_core:event().
event(Packed, Entity, Seq, Time) ->
    event(Packed, {<<Entity/binary, $#>>, Time}, Seq).

event({Type, Payload, Aggregate, Id0, Vsn, Metadata}, {Prefix, Time}, Seq) ->
    Id =
        case Id0 of
            %% With its size given the prefix is copied into a new binary, and not appended to, which would reserve
            %% 256 bytes.
            undefined -> <<Prefix:(byte_size(Prefix))/binary, (integer_to_binary(Seq))/binary>>;
            _ -> Id0
        end,
    #{type => Type, payload => Payload, aggregate => Aggregate, id => Id, schema_vsn => Vsn,
      metadata => Metadata, seq => Seq, recorded_at => Time}.

accept(Aggregate, State, Event0) ->
    case migrate(Aggregate, Event0) of
        {ok, Event} ->
            case validate(Aggregate, State, Event) of
                ok -> apply_to(Aggregate, State, Event);
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

%% @doc Applies events of the log to the states. `From' gives, by aggregate, the seq of the last event that the state
%% includes already (0 for none): an event up to that seq is not applied again.
-spec replay(aggregates(), [warp_core:event()], #{binary() => warp_core:seq()}, states()) ->
    states().
replay(_Aggregates, [], _From, States) ->
    States;
replay(Aggregates, [#{aggregate := Name, seq := Seq} = Event | Events], From, States) ->
    case States of
        #{Name := {ok, State}} ->
            case Seq > maps:get(Name, From, 0) of
                true ->
                    Next = again(maps:get(Name, Aggregates), State, Event),
                    replay(Aggregates, Events, From, States#{Name := Next});
                false ->
                    replay(Aggregates, Events, From, States)
            end;
        #{} ->
            %% An earlier event failed, or the context has no such aggregate any more.
            replay(Aggregates, Events, From, States)
    end.

again(Aggregate, State, Event0) ->
    case migrate(Aggregate, Event0) of
        {ok, Event} -> apply_to(Aggregate, State, Event);
        {error, _} = Error -> Error
    end.

%% @doc Applies one event of the log. Gives the state after it, and the event as `apply' saw it.
-spec follow(aggregate(), term(), warp_core:event()) ->
    {ok, term(), warp_core:event()} | {error, reason()}.
follow(Aggregate, State, Event0) ->
    case migrate(Aggregate, Event0) of
        {ok, Event} ->
            case apply_to(Aggregate, State, Event) of
                {ok, Next} -> {ok, Next, Event};
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

%% @doc The event in the current schema, as `migrate' gives it. Without `migrate' the event as it is.
-spec migrate(aggregate(), warp_core:event()) -> {ok, warp_core:event()} | {error, reason()}.
migrate(#{migrate := Migrate} = Aggregate, #{schema_vsn := Vsn} = Event) ->
    try Migrate(Event, Vsn) of
        Migrated when is_map(Migrated) -> {ok, Migrated};
        Other -> {error, {bad_return, migrate, Other}}
    catch
        Class:Reason:Stack ->
            {error, failed(migrate, migrate_failed, {Class, Reason, Stack}, Aggregate)}
    end;
migrate(_Aggregate, Event) ->
    {ok, Event}.

validate(#{validate := Validate} = Aggregate, State, Event) ->
    try Validate(State, Event) of
        ok -> ok;
        {error, Reason} -> {error, {rejected, Reason}};
        Other -> {error, {bad_return, validate, Other}}
    catch
        Class:Reason:Stack ->
            {error, failed(validate, validate_failed, {Class, Reason, Stack}, Aggregate)}
    end;
validate(_Aggregate, _State, _Event) ->
    ok.

apply_to(#{apply := Apply} = Aggregate, State, Event) ->
    try
        {ok, Apply(State, Event)}
    catch
        Class:Reason:Stack -> {error, failed(apply, apply_failed, {Class, Reason, Stack}, Aggregate)}
    end;
apply_to(_Aggregate, State, _Event) ->
    {ok, State}.

%% @doc The reason of an error after a function of the aggregate crashed: `stale_function' if a function cannot be
%% called any more, and otherwise Tag with the crash.
-spec failed(apply | validate | migrate | project, atom(), {atom(), term(), list()}, aggregate()) ->
    {atom(), term()}.
failed(Function, Tag, {Class, Reason, Stack}, #{name := Name} = Aggregate) ->
    case Class =:= error andalso warp_function:stale(Reason, Stack, maps:get(Function, Aggregate)) of
        {true, Gone} -> {stale_function, Gone#{aggregate => Name, function => Function}};
        false -> {Tag, warp_function:crash(Class, Reason, Stack)}
    end.
