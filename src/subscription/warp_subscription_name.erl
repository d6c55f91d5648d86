%% @private What the process of a subscription with a name knows of the process that keeps the name: whether it has
%% joined there, and what it has passed on.
%%
%% The keeper may be on another node, and another node may become the keeper. Then the subscription joins there. A
%% process of its own does that, since it can take long.
-module(warp_subscription_name).

-export([new/4, name/1, tag/1, join/2, join_again/1, step_back/2, has_joined/3, is_keeper/2, is_remote/1, why/1]).
-export([stored/1, assigned/2, has_passed/2, pass_on/2, save/2, notices/2, leave/2, yield/2]).
-export([catch_up/2, erase/4, erased/2, is_told/2, taken/2, count/1, waits/1, waits/2]).

-export_type([name/0]).

-opaque name() :: #{
    context := warp_context:context(),
    consumer := warp_subscription_names:consumer(),
    %% Who keeps the name, when it has joined there, and the process that joins.
    keeper := none | {pid(), Monitor :: reference()},
    joining := none | Monitor :: reference(),
    %% The node that keeps the name, when it has got shards.
    node := none | node(),
    %% Why it could not join.
    why := none | term(),
    %% The cursor of the name, as it was on disk last.
    stored := none | warp_subscription_cursor:cursor(),
    %% What was acknowledged, as it was passed on last; and erasures that the subscriber has taken, which were not.
    passed := warp_subscription_names:marks(),
    told := warp_subscription_names:told(),
    %% The erasures that the subscriber was told of and has not taken: how many, and how many of each entity, with the
    %% last life of it.
    count := non_neg_integer(),
    untaken := #{binary() => {pos_integer(), Life :: non_neg_integer()}},
    waits := {Retrying :: non_neg_integer(), Parked :: non_neg_integer()}
}.

%% How long one attempt to join, and other calls, may take.
-define(CALL_MS, 5000).
%% The pause before it joins again after an error.
-define(PAUSE_MS, 200).

%% @doc The name, which the subscription has not joined yet.
-spec new(warp_context:context(), {Name :: binary(), Consumers :: pos_integer()}, Prefix :: binary(),
          Subscriber :: pid()) -> name().
new(Context, {Name, Consumers}, Prefix, Subscriber) ->
    left(#{context => Context, stored => none, why => none,
           consumer => #{name => Name, pid => self(), tag => make_ref(), subscriber => Subscriber,
                         consumers => Consumers, prefix => Prefix, server => server(Context)}}).

server(Context) ->
    case warp_context:registered(Context, {cluster_server, 0}) of
        {ok, Pid} -> Pid;
        none -> none
    end.

left(Of) ->
    Of#{keeper => none, joining => none, node => none, passed => #{}, told => #{}, count => 0, untaken => #{},
        waits => {0, 0}}.

-spec name(name()) -> binary().
name(#{consumer := #{name := Name}}) -> Name.

%% @doc What the keeper's messages are marked with.
-spec tag(name()) -> reference().
tag(#{consumer := #{tag := Tag}}) -> Tag.

%% @doc Why it could not join when it tried last.
-spec why(name()) -> none | term().
why(#{why := Why}) -> Why.

%% @doc Joins, and waits for that. Gives with what the ids of entities begin of whose erasures it is told.
-spec join(name(), warp_deadline:deadline()) -> {ok, Prefix :: binary(), name()} | {error, term()}.
join(#{context := Context, consumer := Consumer} = Of, Deadline) ->
    case warp_subscription_names:join(Context, Consumer, Deadline) of
        {ok, Prefix, Keeper} -> {ok, Prefix, Of#{keeper := {Keeper, erlang:monitor(process, Keeper)}, why := none}};
        {error, _} = Error -> Error
    end.

%% @doc It has left, or nobody knows it any more, and joins where the name is kept by now.
-spec join_again(name()) -> name().
join_again(Before) ->
    #{context := #{ref := Ref} = Context, consumer := Consumer} = Of = ended(Before),
    Join = fun() ->
        case warp_context:find(Ref) of
            {ok, Context} -> warp_subscription_names:join(Context, Consumer, warp_deadline:from(?CALL_MS));
            not_found -> {error, context_stopped}
        end
    end,
    Of#{joining := warp_subscription_aside:start(Join)}.

%% @doc It could not begin, and is to join again after that pause.
-spec step_back(Why :: term(), name()) -> {again_in, pos_integer(), name()}.
step_back(Why, Of) -> {again_in, ?PAUSE_MS, (ended(Of))#{why := Why}}.

ended(#{keeper := Keeper, joining := Joining, context := Context, consumer := Consumer} = Of) ->
    _ = [erlang:demonitor(Monitor, [flush]) || {_, Monitor} <- [Keeper]],
    _ = [erlang:demonitor(Joining, [flush]) || Joining =/= none],
    (left(Of))#{consumer := Consumer#{tag := make_ref(), server := server(Context)}}.

%% @doc What came of joining, where that is the monitor of the process that joins: with what the ids of entities begin;
%% or after which pause it is to join again; or why it ends. `no': the monitor is another one.
-spec has_joined(Monitor :: reference(), Reason :: term(), name()) ->
    {ok, Prefix :: binary(), name()} | {again_in, pos_integer(), name()} | {stop, Why :: term()} | no.
has_joined(Monitor, {done, {ok, Prefix, Keeper}}, #{joining := Monitor} = Of) ->
    {ok, Prefix, Of#{keeper := {Keeper, erlang:monitor(process, Keeper)}, joining := none, why := none}};
has_joined(Monitor, {done, {error, Why}}, #{joining := Monitor} = Of) ->
    case Why of
        {others_say, _} -> {stop, Why};
        unknown_subscription -> {stop, Why};
        context_stopped -> {stop, Why};
        _ -> {again_in, ?PAUSE_MS, Of#{joining := none, why := Why}}
    end;
has_joined(Monitor, _Crash, #{joining := Monitor} = Of) ->
    {again_in, ?PAUSE_MS, Of#{joining := none, why := interrupted}};
has_joined(_Monitor, _Reason, _Of) ->
    no.

%% @doc Whether that is the monitor of the keeper.
-spec is_keeper(Monitor :: reference(), name()) -> boolean().
is_keeper(Monitor, #{keeper := {_, Monitor}}) -> true;
is_keeper(_Monitor, _Of) -> false.

%% @doc Whether another node keeps the name of which it has got shards.
-spec is_remote(name()) -> boolean().
is_remote(#{node := Node}) -> Node =/= node().

%% ------------------------------------------------------------------ What is acknowledged

%% @doc The cursor of the name, as it was on disk last.
-spec stored(name()) -> none | warp_subscription_cursor:cursor().
stored(#{stored := Stored}) -> Stored.

%% @doc It has got shards.
-spec assigned(warp_subscription_names:assigned(), name()) -> name().
assigned(#{keeper := Keeper, cursor := Stored, marks := Marks}, Of) ->
    Of#{node := Keeper, stored := Stored, passed := Marks}.

%% @doc Whether the keeper was told what was acknowledged up to there, or it has none to be told.
-spec has_passed(warp_subscription_names:marks(), name()) -> boolean().
has_passed(_Marks, #{keeper := none}) -> true;
has_passed(Marks, #{passed := Passed, told := Told}) -> Marks =:= Passed andalso map_size(Told) =:= 0.

%% @doc Passes on what was acknowledged up to there. False: that is to be done again.
-spec pass_on(warp_subscription_names:marks(), name()) -> {boolean(), name()}.
pass_on(Marks, #{keeper := Keeper, told := Told} = Of) ->
    case has_passed(Marks, Of) of
        true ->
            {true, Of};
        false ->
            {Pid, _} = Keeper,
            case warp_subscription_names:passed(Pid, name(Of), tag(Of), {Marks, Told}) of
                true -> {true, Of#{passed := Marks, told := #{}}};
                false -> {false, Of}
            end
    end.

%% @doc Waits until everything that was acknowledged is on disk. Gives the cursor of the name.
-spec save(warp_subscription_names:marks(), name()) ->
    {{ok, warp_subscription_cursor:cursor()} | {error, term()}, name()}.
save(Marks, #{context := Context, told := Told} = Of) ->
    case warp_subscription_names:save(Context, name(Of), {tag(Of), Marks, Told}, warp_deadline:from(?CALL_MS)) of
        {ok, Stored} = Saved -> {Saved, Of#{passed := Marks, told := #{}, stored := Stored}};
        {error, _} = Error -> {Error, Of}
    end.

%% @doc The next entities that were erased, behind one.
-spec notices(After :: binary(), name()) ->
    {ok, [{binary(), Life :: non_neg_integer()}], done | {more, binary()}} | {error, term()}.
notices(After, #{context := Context} = Of) ->
    warp_subscription_names:notices(Context, name(Of), After, warp_deadline:from(?CALL_MS)).

%% @doc It ends, and has acknowledged everything up to there.
-spec leave(warp_subscription_names:marks(), name()) -> ok.
leave(Marks, #{context := Context, told := Told} = Of) ->
    _ = warp_subscription_names:leave(Context, name(Of), {tag(Of), Marks, Told}, warp_deadline:from(?CALL_MS)),
    ok.

%% @doc It leaves, since the keeper has asked for that.
-spec yield(warp_subscription_names:marks(), name()) -> ok.
yield(Marks, #{keeper := {Keeper, _}, told := Told} = Of) ->
    %% NOTE: what does not arrive comes again.
    _ = warp_subscription_names:left(Keeper, name(Of), {tag(Of), Marks, Told}),
    ok;
yield(_Marks, _Of) ->
    ok.

%% ------------------------------------------------------------------ Erasures

%% @doc Has the keeper note the erasures in these shards that its node has not come to. Gives the shards of which that
%% could not be done, each with why not. Waits for other nodes, and may be called by any process.
-spec catch_up([non_neg_integer()], name()) -> [{N :: non_neg_integer(), Why :: term()}].
catch_up(Shards, #{context := Context, node := Keeper} = Of) ->
    Deadline = warp_deadline:from(?CALL_MS),
    Each = [{N, warp_subscription_names:catch_up(Context, {name(Of), Keeper}, N, Deadline)} || N <- Shards],
    [{N, Why} || {N, {error, Why}} <- Each].

%% @doc Has the keeper note an erasure, where that is on another node, which may not have heard of it.
-spec erase(Entity :: binary(), N :: non_neg_integer(), Life :: non_neg_integer(), name()) -> ok | {error, term()}.
erase(Entity, N, Life, #{context := Context} = Of) ->
    case is_remote(Of) of
        true ->
            Erasure = {Entity, N, Life, none},
            warp_subscription_names:erase_of(Context, name(Of), [Erasure], warp_deadline:from(?CALL_MS));
        false ->
            ok
    end.

%% @doc The subscriber is told of erasures.
-spec erased([{Entity :: binary(), Life :: non_neg_integer()}], name()) -> name().
erased(Erased, Of) ->
    lists:foldl(
        fun({Entity, Life}, #{count := Count, untaken := Untaken} = Acc) ->
            {Times, Before} = maps:get(Entity, Untaken, {0, 0}),
            Acc#{count := Count + 1, untaken := Untaken#{Entity => {Times + 1, max(Life, Before)}}}
        end,
        Of, Erased).

%% @doc Whether the subscriber was told of that erasure, and the keeper may not know yet that it has taken it.
-spec is_told({Entity :: binary(), Life :: non_neg_integer()}, name()) -> boolean().
is_told({Entity, Life}, #{untaken := Untaken, told := Told}) ->
    {_, Last} = maps:get(Entity, Untaken, {0, -1}),
    max(Last, maps:get(Entity, Told, -1)) >= Life.

%% @doc The subscriber has taken an erasure. One of an entity that was deleted again since is to be taken again.
-spec taken(Entity :: binary(), name()) -> name().
taken(Entity, #{count := Count, untaken := Untaken, told := Told} = Of) ->
    case Untaken of
        #{Entity := {1, Life}} ->
            Of#{count := Count - 1, untaken := maps:remove(Entity, Untaken), told := Told#{Entity => Life}};
        #{Entity := {Times, Life}} ->
            Of#{count := Count - 1, untaken := Untaken#{Entity := {Times - 1, Life}}};
        #{} ->
            Of
    end.

%% @doc How many erasures the subscriber was told of and has not taken.
-spec count(name()) -> non_neg_integer().
count(#{count := Count}) -> Count.

%% @doc How many entities wait for the subscriber, as a keeper on another node has said.
-spec waits(name()) -> {Retrying :: non_neg_integer(), Parked :: non_neg_integer()}.
waits(#{waits := Waits}) -> Waits.

-spec waits({Retrying :: non_neg_integer(), Parked :: non_neg_integer()}, name()) -> name().
waits(Waits, Of) -> Of#{waits := Waits}.
