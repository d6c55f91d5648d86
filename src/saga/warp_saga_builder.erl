%% @private Makes the plan of a saga of what a caller builds, and checks it.
-module(warp_saga_builder).

-export([new/1, step/2, parallel/2, check_id/1, build/3]).

-export_type([saga/0]).

%% What a caller builds: the groups with their steps, the last group first. Nothing is checked yet.
-opaque saga() :: {warp_saga, Id :: term(), [[term(), ...] | {not_a_list, term()}]}.

-define(MAX_STEPS, 1000).
-define(MAX_NAME_BYTES, 512).
-define(COMPACT_BUDGET, 1000000).

-spec new(term()) -> saga().
new(Id) ->
    {warp_saga, Id, []}.

-spec step(saga(), term()) -> saga().
step({warp_saga, Id, Groups}, Step) ->
    {warp_saga, Id, [[Step] | Groups]}.

-spec parallel(saga(), term()) -> saga().
parallel(Saga, []) ->
    Saga;
%% No improper list has a length.
parallel({warp_saga, Id, Groups}, Steps) when length(Steps) > 0 ->
    {warp_saga, Id, [Steps | Groups]};
parallel({warp_saga, Id, Groups}, Other) ->
    {warp_saga, Id, [{not_a_list, Other} | Groups]}.

%% @doc The id of what a caller built.
-spec check_id(term()) -> {ok, binary()} | {error, {bad_saga_id, not_a_saga | warp_text:problem()}}.
check_id({warp_saga, Id, _Groups}) ->
    case warp_saga_plan:check_id(Id) of
        ok -> {ok, Id};
        {error, _} = Error -> Error
    end;
check_id(_NotASaga) ->
    {error, {bad_saga_id, not_a_saga}}.

%% @doc Checks what a caller built, but for the id. Gives the plan and the packed row that stores it. The options are
%% those that `warp_saga_options:commit/1' gives.
-spec build(saga(), warp_context:context(), map()) ->
    {ok, warp_saga_plan:plan(), warp_nif:packed()} | {error, term()}.
build({warp_saga, Id, Groups0}, Context, #{timeout := Timeout, retries := Retries}) ->
    try
        {Steps, Groups} = number(lists:reverse(Groups0), Context),
        Encoded = warp_saga_hash:encode(Id, Steps, Groups),
        Plan = #{id => Id, steps => Steps, groups => Groups, deadline => deadline(Timeout),
                 retries => Retries, hash => warp_saga_hash:of_encoded(Encoded)},
        {Packed, AsRead} = pack(Plan, Context),
        case AsRead =:= Steps orelse warp_saga_hash:encode(Id, AsRead, Groups) of
            Same when Same =:= true; Same =:= Encoded ->
                {ok, compact(Plan#{steps := AsRead}), Packed};
            Other ->
                %% The caller gave payloads in another form than reading the row will give them.
                Known = Plan#{steps := AsRead, hash := warp_saga_hash:of_encoded(Other)},
                {PackedAgain, _} = pack(Known, Context),
                {ok, compact(Known), PackedAgain}
        end
    catch
        throw:Reason -> {error, Reason}
    end.

pack(Plan, #{saga_rules := Rules}) ->
    case warp_saga_plan:pack(Plan, Rules) of
        {ok, Packed, AsRead} ->
            {Packed, AsRead};
        {error, {bad_event, 1, _, Why}} ->
            throw({bad_saga, Why});
        {error, {bad_event, At, Field, Why}} ->
            Side = case At rem 2 of 0 -> forward; 1 -> compensate end,
            bad(At div 2 - 1, Side, {Field, Why});
        {error, Reason} ->
            throw(Reason)
    end.

%% The plan stays in memory for as long as the saga takes. What its payloads were cut from should not.
compact(Plan) ->
    warp_compact:term(Plan, ?COMPACT_BUDGET).

deadline(infinity) -> infinity;
deadline(Millis) -> os:system_time(microsecond) + Millis * 1000.

number([], _Context) ->
    throw(empty_saga);
number(Groups, Context) ->
    Count = lists:sum([length(Group) || Group <- Groups, is_list(Group)]),
    _ = [throw({too_many_steps, Count, ?MAX_STEPS}) || Count > ?MAX_STEPS],
    {Numbered, _} = lists:mapfoldl(
        fun
            ({not_a_list, _}, N) -> bad(N, parallel, not_a_list);
            (Group, N) -> {lists:zip(lists:seq(N, N + length(Group) - 1), Group), N + length(Group)}
        end,
        0,
        Groups),
    {[check_step(N, Step, Context) || {N, Step} <- lists:append(Numbered)],
     [[N || {N, _} <- Group] || Group <- Numbered]}.

-spec bad(non_neg_integer(), atom(), term()) -> no_return().
bad(N, Field, Why) ->
    throw({bad_step, N, {Field, Why}}).

check_step(N, #{entity := Entity, aggregate := Name, forward := Forward, compensate := Reverse} = Step,
           #{aggregates := Aggregates} = Context) ->
    _ = [bad(N, Field, unknown_field)
         || Field <- maps:keys(Step) -- [entity, aggregate, schema_vsn, forward, compensate]],
    ok = entity(N, Entity, Context),
    _ = [bad(N, aggregate, Why) || {error, Why} <- [warp_text:check(Name, ?MAX_NAME_BYTES)]],
    _ = [bad(N, aggregate, {unknown_aggregate, Name}) || not is_map_key(Name, Aggregates)],
    Vsn =
        case Step of
            #{schema_vsn := Given} -> Given;
            #{} -> warp_aggregate:version(maps:get(Name, Aggregates))
        end,
    _ = [bad(N, schema_vsn, not_a_positive_integer)
         || not (is_integer(Vsn) andalso Vsn > 0 andalso Vsn < 1 bsl 32)],
    #{n => N, entity => Entity, aggregate => Name, schema_vsn => Vsn,
      forward => action(N, forward, Forward, Context),
      compensate => action(N, compensate, Reverse, Context)};
check_step(N, #{} = Step, _Context) ->
    [Missing | _] = [entity, aggregate, forward, compensate] -- maps:keys(Step),
    bad(N, Missing, missing);
check_step(N, _Step, _Context) ->
    bad(N, step, not_a_map).

entity(N, <<"$warp/", _/binary>>, _Context) ->
    bad(N, entity, reserved);
entity(N, Id, Context) ->
    case warp_context:shard_of(Context, Id) of
        {ok, _Shard} -> ok;
        {error, {bad_entity_id, Why}} -> bad(N, entity, Why)
    end.

action(N, Side, #{type := Type, payload := Payload} = Given, _Context) ->
    ok = only(N, Side, Given, [type, payload]),
    _ = [bad(N, Side, {type, Why}) || {error, Why} <- [warp_text:check(Type, ?MAX_NAME_BYTES)]],
    {event, Type, Payload};
action(N, Side, #{run := Name} = Given, #{steps := Functions}) ->
    ok = only(N, Side, Given, [run, args]),
    Direction = case Side of forward -> forward; compensate -> reverse end,
    case warp_saga_functions:find(Name, Direction, Functions) of
        {ok, _} -> {run, Name, maps:get(args, Given, #{})};
        {error, Why} -> bad(N, Side, Why)
    end;
action(N, Side, #{type := _}, _Context) -> bad(N, Side, {payload, missing});
action(N, Side, #{payload := _}, _Context) -> bad(N, Side, {type, missing});
action(N, Side, #{}, _Context) -> bad(N, Side, neither_type_nor_run);
action(N, Side, _Action, _Context) -> bad(N, Side, not_a_map).

only(N, Side, Given, Known) ->
    _ = [bad(N, Side, {Field, unknown_field}) || Field <- maps:keys(Given) -- Known],
    ok.
