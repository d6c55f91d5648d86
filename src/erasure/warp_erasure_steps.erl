%% @private Carries out one deletion: takes its steps one after the other, and strikes each out in the list when it is
%% done.
%%
%% The components' steps before the log are taken while the entity stands still: its process has carried out all
%% earlier requests, and appends nothing. Then the writer erases the log. The steps after the log are repeated until
%% they work. Every step can be taken again.
%%
%% In a cluster the node that has the entity's shard carries a deletion out. It tells the other nodes of it before it
%% erases the log, and has them take the steps after the log afterwards ({@link warp_erasure_courier}). It does not wait
%% for nodes that cannot be reached.
-module(warp_erasure_steps).

-export([names/1, without_steps/1, on_each_node/1, new/4, resume/5, here/3, incarnation/2]).
%% The entity's process calls these, see `warp_entity'.
-export([arrived/2, prepare/3]).

-export_type([tell/0, told/0, receipt/0]).

-include("../base/warp_entity.hrl").

%% The function that tells `warp_erasure' how far the deletion is.
-type tell() :: fun((told()) -> ok).
-type told() ::
    %% The log is erased.
    log_erased
    %% What is still to be erased, and why: for the error `still_to_erase'.
    | {left, #{atom() => term()}}
    %% The answer to the callers.
    | {result, {ok, receipt()} | resumed | {error, term()}}.
%% See {@link warp_core:delete/2}.
-type receipt() :: #{
    entity := binary(),
    shard := non_neg_integer(),
    events := non_neg_integer(),
    erased_at := warp_core:micros(),
    erased_from := [atom()],
    nodes := [node(), ...]
}.

-define(RETRY, {500, infinity}).
%% The name of the step that erases the log; and of the step that takes its place after the callers got an error. That
%% one leaves a log alone that is still there.
-define(LOG, <<"log">>).
-define(UNLESS_KEPT, <<"unless kept">>).

%% @doc The steps of a deletion in this context, in order.
-spec names(warp_context:context()) -> [warp_erasure_list:step()].
names(Context) ->
    Steps = [Step || {_Component, Step} <- warp_component:erase_steps(Context)],
    named(before_log, Steps) ++ [?LOG | after_log(Context)].

%% @doc The steps that each node of a cluster takes after the log was erased.
-spec on_each_node(warp_context:context()) -> [warp_erasure_list:step()].
on_each_node(Context) ->
    named(after_log, [Step || {_Component, Step} <- warp_component:erase_steps(Context)]).

%% What other nodes have takes longer.
after_log(Context) ->
    on_each_node(Context)
        ++ named(after_log_at_owner, [Step || {_Component, Step} <- warp_component:erase_steps(Context)]).

%% @doc The steps of a deletion that was noted by a version that had no steps in the list, in a context that was
%% projected to this target. That version left a log alone that was still there after a crash.
-spec without_steps(none | binary()) -> [warp_erasure_list:step()].
without_steps(Target) ->
    [?UNLESS_KEPT | [Target || Target =/= none]].

named(When, Steps) ->
    [Name || {Of, Name} <- Steps, Of =:= When].

%% @doc Carries out a new deletion, and tells its result.
-spec new(warp_context:context(), warp_erasure_list:open_list(), #warp_entity{}, tell()) -> ok.
new(Context, List, #warp_entity{id = Id, shard = N}, Tell) ->
    case begun(Context, List, Id, N) of
        {ok, Deletion, Steps} ->
            log(Context, List, Deletion, Steps, Tell);
        %% `warp_erasure' is opening the list again.
        {error, closed} ->
            Tell({result, {error, interrupted}});
        {error, _} = Error ->
            Tell({result, Error})
    end.

begun(Context, List, Id, N) ->
    case warp_component:await_loaded(Context) of
        ok ->
            %% NOTE: held before the log is looked at. A life that begins meanwhile is not shown before the deletion is
            %% done: should a crash keep that life, its rows would be erased with what is noted here.
            ok = warp_erasure_holds:hold(Context, Id, unknown),
            noted(note(Context, List, Id, N), Context, Id);
        {error, _} = Error ->
            Error
    end.

note(Context, List, Id, N) ->
    case incarnation(Context, N, Id) of
        {ok, Incarnation} ->
            Deletion = deletion(Id, N, Incarnation),
            case warp_erasure_elsewhere:begin_with(Context, Deletion) of
                {ok, Elsewhere} -> add(Context, List, Deletion, Elsewhere);
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

add(Context, List, Deletion, Elsewhere) ->
    Steps = names(Context),
    case warp_erasure_list:add(List, Deletion, Steps, Elsewhere) of
        ok ->
            ok = warp_erasure_elsewhere:begun(Context, Elsewhere),
            {ok, Deletion, Steps};
        {error, _} = Error ->
            ok = warp_erasure_elsewhere:never_begun(Context, Deletion, Elsewhere),
            Error
    end.

noted({ok, #{incarnation := Incarnation}, _Steps} = Noted, Context, Id) ->
    ok = warp_erasure_holds:hold(Context, Id, Incarnation),
    Noted;
noted({error, _} = Error, Context, Id) ->
    ok = warp_erasure_holds:release(Context, Id),
    Error.

deletion(Id, N, Incarnation) ->
    #{entity => Id, shard => N, incarnation => Incarnation}.

%% @doc Resumes a deletion that a crash interrupted, with the steps that are left. Erases the log only if it is still
%% the log of the life that is to be deleted.
-spec resume(warp_context:context(), warp_erasure_list:open_list(), warp_erasure_list:entry(),
             [warp_erasure_list:step()], tell()) -> ok.
resume(Context, List, #{shard := N} = Deletion, Steps, Tell) ->
    ok = until_it_works(fun() -> is_here(Context, N) end),
    case {lists:member(?LOG, Steps), lists:member(?UNLESS_KEPT, Steps)} of
        {true, _} ->
            ok = until_loaded(Context),
            case is_there(Context, Deletion) of
                true -> log(Context, List, Deletion, Steps, Tell);
                false -> behind_log(Context, List, Deletion, Steps, Tell, resumed, fate(Context, Deletion))
            end;
        {false, true} ->
            unless_kept(Context, List, Deletion, Steps, Tell, resumed);
        {false, false} ->
            behind_log(Context, List, Deletion, Steps, Tell, resumed, erased)
    end.

%% A shard that is just being opened here.
is_here(Context, N) ->
    case warp_context_owners:is_here(Context, N) of
        true -> ok;
        false -> {error, {shard_unavailable, N}}
    end.

until_loaded(Context) ->
    until_it_works(fun() -> warp_component:await_loaded(Context) end).

%% Whether the log still has the life that is to be deleted. Repeats the question until the shard answers.
is_there(Context, #{entity := Id, shard := N, incarnation := Incarnation}) ->
    case until_it_works(fun() -> incarnation(Context, N, Id) end) of
        {ok, Incarnation} -> Incarnation > 0;
        {ok, _Another} -> false
    end.

%% @doc The incarnation of an entity, 0 for one without events. Errors: `{shard_unavailable, N}', and errors of the
%% file.
-spec incarnation(warp_context:context(), #warp_entity{}) -> {ok, non_neg_integer()} | {error, term()}.
incarnation(Context, #warp_entity{id = Id, shard = N}) ->
    incarnation(Context, N, Id).

incarnation(Context, N, Id) ->
    case warp_context:with_shard(Context, N, fun(Handle) -> warp_nif:last_row(Handle, Id) end) of
        {ok, none} -> {ok, 0};
        {ok, {Incarnation, _, _}} -> {ok, Incarnation};
        {error, _} = Error -> Error
    end.

%% What becomes of the entity on other nodes, when its log does not have the life that was to be deleted. Of an entity
%% without events they have nothing; and they may have shown a life that has begun before they knew of the deletion.
fate(Context, #{entity := Id, shard := N, incarnation := 0}) ->
    case until_it_works(fun() -> incarnation(Context, N, Id) end) of
        {ok, 0} -> erased;
        {ok, _Another} -> kept
    end;
fate(_Context, _Deletion) ->
    erased.

log(#{ref := Ref} = Context, List, #{entity := Id, shard := N} = Deletion, Steps, Tell) ->
    ok = repeated(fun() -> warp_erasure_elsewhere:ensure(Context, List, Deletion) end, Tell),
    ok = warp_erasure_courier:tell_of(Context, List, Deletion),
    Request = {delete, {?MODULE, {List, Deletion, Steps}}},
    case warp_entity_call:call(#warp_entity{ref = Ref, id = Id, shard = N}, Request, 0, infinity, repeatable) of
        {deleted, Events} ->
            %% The time of the erasure, and not that of what follows, which may take days.
            Log = #{events => Events, erased_at => os:system_time(microsecond)},
            behind_log(Context, List, Deletion, Steps, Tell, {ok, Log}, erased);
        {error, _} = Failed -> not_deleted(Context, List, Deletion, Tell, Failed)
    end.

%% The log may be erased in spite of the error. If it is not, the callers have to delete again. Until they do the
%% entity stays, also after a crash.
not_deleted(Context, List, #{entity := Id, incarnation := Incarnation, shard := N} = Deletion, Tell, Failed) ->
    Steps = [?UNLESS_KEPT | after_log(Context)],
    ok = repeated(fun() -> warp_erasure_list:replace(List, Id, Steps) end, Tell),
    case incarnation(Context, N, Id) of
        {ok, Now} when Now =/= Incarnation; Now =:= 0 ->
            behind_log(Context, List, Deletion, Steps, Tell, Failed, fate(Context, Deletion));
        Unknown ->
            _ = [Tell({result, Failed}) || element(1, Unknown) =:= error],
            unless_kept(Context, List, Deletion, Steps, Tell, Failed)
    end.

unless_kept(Context, List, Deletion, Steps, Tell, Result) ->
    case is_there(Context, Deletion) of
        true ->
            ok = repeated(fun() -> warp_erasure_elsewhere:kept(Context, List, Deletion) end, Tell),
            ended(Context, Deletion),
            Tell({result, Result});
        false ->
            behind_log(Context, List, Deletion, Steps, Tell, Result, fate(Context, Deletion))
    end.

%% Takes the steps after the log, which is erased. Other nodes do their part meanwhile; what they have not done then is
%% left to {@link warp_erasure_courier}.
behind_log(Context, List, #{entity := Id} = Deletion, Steps, Tell, Result, Fate) ->
    ok = Tell(log_erased),
    Passed = [Step || Step <- Steps, Step =:= ?LOG orelse Step =:= ?UNLESS_KEPT],
    {ok, Elsewhere} = repeated(fun() -> warp_erasure_elsewhere:erased(Context, List, Deletion, Passed, Fate) end, Tell),
    Told = warp_erasure_courier:erase(Context, List, Elsewhere),
    Known = warp_component:erase_steps(Context),
    Behind = [Step || Step <- Steps, not is_before_log(Step, Known), not lists:member(Step, Passed)],
    %% A step that no component has never ends: the others come first.
    {Unknown, Left} = lists:partition(fun(Step) -> is_unknown(Step, Known) end, Behind),
    StrikeOut = fun(Step) -> repeated(fun() -> warp_erasure_list:done(List, Id, Step) end, Tell) end,
    ok = take(Left ++ Unknown, Context, Deletion, StrikeOut, Tell),
    %% NOTE: the last step goes with the note. A note without steps is one of a version that had none, and has to erase
    %% everything again; a new life is shown afterwards only.
    ok = repeated(fun() -> warp_erasure_list:remove(List, Id) end, Tell),
    ended(Context, Deletion),
    ok = warp_erasure_courier:await(Told),
    Tell({result, result(Result, Context, Deletion, [node() | warp_erasure_elsewhere:nodes_of(Elsewhere)])}).

result({ok, Log}, Context, #{entity := Id, shard := N}, Nodes) ->
    %% Snapshots are in the file of the log, and go with it.
    Parts = [binary_to_existing_atom(Step) || Step <- names(Context)],
    {ok, Log#{entity => Id, shard => N, erased_from => Parts, nodes => Nodes}};
result(Result, _Context, _Deletion, _Nodes) ->
    Result.

is_before_log(Step, Known) ->
    lists:any(fun({_, {When, Name}}) -> When =:= before_log andalso Name =:= Step end, Known).

is_unknown(Step, Known) ->
    not lists:any(fun({_, {_, Name}}) -> Name =:= Step end, Known).

ended(Context, #{entity := Id} = Deletion) ->
    ok = warp_erasure_holds:release(Context, Id),
    ok = warp_component:deleted(Context, Deletion).

%% @doc Takes the steps after the log on this node, for the deletion of an entity whose shard is on another one. Calls
%% `Tell' with what is left.
-spec here(warp_context:context(), warp_erasure_list:entry(), fun((#{atom() => term()}) -> ok)) -> ok.
here(Context, Deletion, Tell) ->
    ok = take(on_each_node(Context), Context, Deletion, fun(_Step) -> ok end, fun({left, What}) -> Tell(What) end),
    warp_erasure_holds:left(Context, maps:get(entity, Deletion), []).

%% Strikes out each step but the last.
take([], _Context, _Deletion, _StrikeOut, _Tell) ->
    ok;
take([Step | Steps] = All, Context, #{entity := Id} = Deletion, StrikeOut, Tell) ->
    ok = warp_erasure_holds:left(Context, Id, All),
    Left = fun(What) -> Tell({left, What}) end,
    ok = repeated(fun() -> warp_component:erase(Step, Context, Deletion#{left => Left}) end, Tell),
    _ = [ok = StrikeOut(Step) || Steps =/= []],
    take(Steps, Context, Deletion, StrikeOut, Tell).

%% Repeats Fun until it works, and tells each time why it does not.
repeated(Fun, Tell) ->
    until_it_works(fun() ->
        Result = Fun(),
        _ = [ok = Tell({left, #{reason => Why}}) || {error, Why} <- [Result]],
        Result
    end).

until_it_works(Fun) ->
    warp_retry:while(fun(Result) -> Result =/= ok andalso element(1, Result) =:= error end, ?RETRY, infinity, Fun).

%% @doc Tells the components of a deletion. The entity's process calls this as soon as it gets the request.
-spec arrived(warp_context:context(), Entity :: binary()) -> ok.
arrived(Context, Id) ->
    warp_component:deletion_arrived(Context, Id).

%% @doc Takes the steps before the log that are left. A process that the entity's process has started calls this, while
%% nothing is appended. Gives the error of the first step that fails; `interrupted' when the list was closed.
-spec prepare(warp_context:context(), Entity :: binary(),
              {warp_erasure_list:open_list(), warp_erasure_list:entry(), [warp_erasure_list:step()]}) ->
    ok | {error, term()}.
prepare(Context, _Id, {List, Deletion, Steps}) ->
    Known = warp_component:erase_steps(Context),
    prepare([Step || Step <- Steps, is_before_log(Step, Known)], Context, List, Deletion).

prepare([], _Context, _List, _Deletion) ->
    ok;
prepare([Step | Steps], Context, List, Deletion) ->
    case warp_component:erase(Step, Context, Deletion) of
        ok -> prepared(Step, [], Steps, Context, List, Deletion);
        {later, Later} -> prepared(Step, Later, Steps, Context, List, Deletion);
        {error, _} = Error -> Error
    end.

prepared(Step, Later, Steps, Context, List, Deletion) ->
    case warp_erasure_elsewhere:later(Context, List, Deletion, Step, Later) of
        ok -> prepare(Steps, Context, List, Deletion);
        {error, closed} -> {error, interrupted};
        {error, _} = Error -> Error
    end.
