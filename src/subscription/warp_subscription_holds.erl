%% @private Entities that a subscriber holds, since an event of them failed. Pure.
%%
%% The event that failed is tried again after pauses, and then parked. What comes later of that entity waits in the log:
%% a hold has only the seq of the first event that waits, and how far the events have come meanwhile, up to which they
%% are read from the log when the first one works.
-module(warp_subscription_holds).

-export([new/0, load/4, is_held/2, is_full/1, size/1, passed/2]).
-export([fail/5, fail_again/6, advance/4, replace/3, remove/2, of_entity/2, postpone/3, due/2, next_due/1]).

-export_type([holds/0, hold/0, upto/0]).

%% Up to where events have come: a row, up to one of its seqs.
-type upto() :: {Position :: non_neg_integer(), warp_core:seq() | all}.
-type hold() :: {warp_subscription_store:held(), upto(), Due :: millis() | never}.
%% With how many failures an event is parked; `infinity' where the failure says nothing about the event.
-type tries() :: pos_integer() | infinity.
%% Monotonic time.
-type millis() :: integer().
-opaque holds() :: #{Entity :: binary() => hold()}.

%% How many entities are held at most. Beyond that a subscriber takes no events.
-define(MAX, 1000).
%% The pause before an event is tried again: the first one, and the longest; and the longest of what is never parked.
-define(PAUSE_MS, 100).
-define(LONGEST_MS, 60000).
-define(AWAY_MS, 2000).

-spec new() -> holds().
new() -> #{}.

%% @doc What was held when a subscription with these shards ended, whose events had come up to these marks.
-spec load([warp_subscription_store:held()], [non_neg_integer()], warp_subscription_names:marks(), Now :: millis()) ->
    holds().
load(All, Shards, Marks, Now) ->
    maps:from_list([{Entity, {Held, upto(maps:get(N, Marks, 0)), first_due(Held, Now)}}
                    || #{entity := Entity, shard := N} = Held <- All, lists:member(N, Shards)]).

upto({_Position, _Seq} = Mark) -> Mark;
upto(Position) -> {Position, all}.

first_due(#{state := parked}, _Now) -> never;
first_due(_Held, Now) -> Now.

-spec is_held(Entity :: binary(), holds()) -> boolean().
is_held(Entity, Holds) -> is_map_key(Entity, Holds).

%% @doc Whether no more entities can be held.
-spec is_full(holds()) -> boolean().
is_full(Holds) -> map_size(Holds) >= ?MAX.

-spec size(holds()) -> non_neg_integer().
size(Holds) -> map_size(Holds).

%% @doc An event of an entity that is held has come.
-spec passed(warp_core:placed_event(), holds()) -> holds().
passed(#{entity := Entity, position := Position, seq := Seq}, Holds) ->
    #{Entity := {Held, Upto, Due}} = Holds,
    Holds#{Entity := {Held, max(Upto, {Position, Seq}), Due}}.

%% @doc An event of an entity that is not held has failed. `Life' is that of the entity.
-spec fail(warp_core:placed_event(), Life :: pos_integer(), Why :: binary(),
           {Tries :: tries(), Time :: warp_core:micros()}, Now :: millis()) -> hold().
fail(#{entity := Entity, shard := N, position := Position, seq := Seq}, Life, Why, {Tries, Time}, Now) ->
    failed(#{entity => Entity, shard => N, life => Life, seq => Seq, tries => 0, since => Time}, {Position, Seq}, Why,
           Tries, Now).

%% @doc The first event that waits, which is that one, has failed again; or it is the first one now, and has failed.
-spec fail_again(warp_core:seq(), Why :: binary(), tries(), Now :: millis(), Time :: warp_core:micros(),
                 hold()) -> hold().
fail_again(Seq, Why, Tries, Now, _Time, {#{seq := Seq} = Held, Upto, _}) ->
    failed(Held, Upto, Why, Tries, Now);
fail_again(Seq, Why, Tries, Now, Time, {Held, Upto, _}) ->
    failed(Held#{seq := Seq, tries := 0, since := Time}, Upto, Why, Tries, Now).

failed(#{tries := Before} = Held, Upto, Why, Tries, Now) ->
    Failed = Held#{tries := Before + 1, why => Why},
    case Before + 1 >= Tries of
        true -> {Failed#{state => parked}, Upto, never};
        false -> {Failed#{state => retrying}, Upto, Now + pause(Before, Tries)}
    end.

pause(Before, Tries) ->
    Longest = case Tries of infinity -> ?AWAY_MS; _ -> ?LONGEST_MS end,
    min(Longest, ?PAUSE_MS bsl min(Before, 16)).

%% @doc The events before that one are done.
-spec advance(warp_core:seq(), Time :: warp_core:micros(), Now :: millis(), hold()) -> hold().
advance(Seq, Time, Now, {Held, Upto, _}) ->
    {Held#{seq := Seq, tries := 0, state := retrying, since := Time}, Upto, Now}.

%% @doc What somebody has changed: it is due. Nothing changes if another event is the first one by now.
-spec replace(warp_subscription_store:held(), Now :: millis(), holds()) -> holds().
replace(#{entity := Entity, seq := Seq} = Held, Now, Holds) ->
    case Holds of
        #{Entity := {#{seq := Seq}, Upto, _}} -> Holds#{Entity := {Held, Upto, Now}};
        #{} -> Holds
    end.

-spec remove(Entity :: binary(), holds()) -> holds().
remove(Entity, Holds) -> maps:remove(Entity, Holds).

%% @doc The holds with this one in place of that of its entity.
-spec of_entity(hold(), holds()) -> holds().
of_entity({#{entity := Entity}, _, _} = Hold, Holds) -> Holds#{Entity => Hold}.

%% @doc The entity cannot be read now.
-spec postpone(Entity :: binary(), Now :: millis(), holds()) -> holds().
postpone(Entity, Now, Holds) ->
    #{Entity := {Held, Upto, _}} = Holds,
    Holds#{Entity := {Held, Upto, Now + 10 * ?PAUSE_MS}}.

%% @doc A hold that is due.
-spec due(Now :: millis(), holds()) -> {ok, hold()} | none.
due(Now, Holds) ->
    case [Hold || {_, _, Due} = Hold <- maps:values(Holds), Due =/= never, Due =< Now] of
        [] -> none;
        Due -> {ok, hd(lists:keysort(3, Due))}
    end.

%% @doc When the next one is due.
-spec next_due(holds()) -> millis() | never.
next_due(Holds) ->
    %% Any number is less than `never'.
    lists:min([never | [Due || {_, _, Due} <- maps:values(Holds)]]).
