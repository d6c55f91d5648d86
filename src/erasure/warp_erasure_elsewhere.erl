%% @private What deletions of this node's entities have left to do on other nodes: in the list on disk, in a table, and,
%% of the nodes that have to know of a deletion before they read on, in {@link warp_cluster_withheld}. No other module
%% knows the shape of the table. In a context of a single node it is empty.
-module(warp_erasure_elsewhere).

-export([new/0, load/2, opened/3, expected/3, given/2, random/0]).
-export([begin_with/2, begun/2, never_begun/3, ensure/3, later/5, erased/5, kept/3]).
-export([knows/4, noted/3, drop/3, failed/3]).
-export([open/2, left/2, left_for/4, next/4, targets/1, target/1, nodes_of/1, count/1, since/1]).

-export_type([target/0, key/0]).

-type row() :: warp_erasure_list:elsewhere().
%% Who has something left to do: another node, or a component of this one.
-type target() :: node() | binary().
-opaque key() :: {target(), Entity :: binary(), Seq :: integer()}.

-define(NODE, "node:").
%% Greater than any entity's id, which is UTF-8.
-define(LAST, <<255>>).

%% @doc The table, which the calling process owns: {key(), Row, Why, Since}.
-spec new() -> ets:table().
new() -> ets:new(warp_elsewhere, [public, ordered_set]).

%% @doc Reads what the list has, in place of what there was. From then on other nodes may follow the logs of this one.
%% `none': there is no list.
-spec load(warp_context:context(), warp_erasure_list:open_list() | none) -> ok | {error, term()}.
load(Context, none) ->
    warp_cluster_withheld:begun(Context);
load(#{elsewhere := Table} = Context, List) ->
    case {warp_erasure_list:elsewhere(List), warp_erasure_list:all(List), warp_erasure_list:taken(List)} of
        {{ok, Rows}, {ok, All}, {ok, Taken}} ->
            {TakenAll, TakenRows} = lists:unzip(maps:values(Taken)),
            true = ets:delete_all_objects(Table),
            ok = insert(Context, Rows),
            ok = withhold(Context, all, Rows ++ lists:append(TakenRows), entries(All ++ lists:append(TakenAll))),
            warp_cluster_withheld:begun(Context);
        {{error, _} = Error, _, _} -> Error;
        {_, {error, _} = Error, _} -> Error;
        {_, _, {error, _} = Error} -> Error
    end.

entries(All) -> [Entry || {Entry, _Steps} <- All].

%% @doc Shard N is here, or was opened again: this is what the list has of it.
-spec opened(warp_context:context(), non_neg_integer(), warp_erasure_moves:given()) -> ok.
opened(#{elsewhere := Table} = Context, N, {All, Rows}) ->
    true = ets:match_delete(Table, {'_', #{shard => N}, '_', '_'}),
    ok = insert(Context, Rows),
    withhold(Context, [N], Rows, entries(All)).

%% @doc This is going to be what the list has of shard N, which is on another node. That of shards that are not here
%% must be known before they are.
-spec expected(warp_context:context(), non_neg_integer(), warp_erasure_moves:given()) -> ok.
expected(Context, N, {All, Rows}) ->
    withhold(Context, [N], Rows, entries(All)).

%% @doc Shard N is another node's.
-spec given(warp_context:context(), non_neg_integer()) -> ok.
given(Context, N) -> opened(Context, N, {[], []}).

%% Withholds the logs of these shards from the nodes that have to know of deletions, and from nodes that join before the
%% logs of the entries are erased; and from no others.
withhold(Context, Ns, Rows, Entries) ->
    ok = warp_cluster_withheld:forget_all_but(
        Context, Ns,
        [{target(Row), N, key(Row)} || #{shard := N} = Row <- Rows, is_withheld(Row)],
        [{N, Entity} || #{shard := N, entity := Entity} <- Entries]),
    more(Context, Rows, Entries).

more(Context, Rows, Entries) ->
    _ = [ok = warp_cluster_withheld:withhold(Context, target(Row), N, key(Row))
         || #{shard := N} = Row <- Rows, is_withheld(Row)],
    lists:foreach(
        fun(#{entity := Entity} = Deletion) ->
            only(Context, Deletion, nodes_of([Row || #{entity := Of, state := open} = Row <- Rows, Of =:= Entity]))
        end,
        Entries).

is_withheld(#{state := State} = Row) -> State =/= kept andalso is_atom(target(Row)).

only(#{withheld := none}, _Deletion, _Nodes) -> ok;
only(Context, #{entity := Entity, shard := N}, Nodes) -> warp_cluster_withheld:only(Context, N, Entity, Nodes).

anyone(#{withheld := none}, _Deletion) -> ok;
anyone(Context, #{entity := Entity, shard := N}) -> warp_cluster_withheld:anyone(Context, N, Entity).

%% ------------------------------------------------------------------ Of one deletion

%% @doc What a new deletion has to do on other nodes, before it is noted: from now on their reads of the shard's log are
%% refused until they know of it.
-spec begin_with(warp_context:context(), warp_erasure_list:entry()) -> {ok, [row()]} | {error, interrupted}.
begin_with(Context, Deletion) ->
    case warp_cluster_member:other_members(Context) of
        {ok, Nodes} ->
            Rows = rows(Deletion, Nodes, random()),
            ok = more(Context, Rows, [Deletion]),
            {ok, Rows};
        {error, _} = Error ->
            Error
    end.

%% @doc The deletion was noted with these rows.
-spec begun(warp_context:context(), [row()]) -> ok.
begun(Context, Rows) -> insert(Context, Rows).

%% @doc The deletion could not be noted.
-spec never_begun(warp_context:context(), warp_erasure_list:entry(), [row()]) -> ok.
never_begun(Context, #{shard := N} = Deletion, Rows) ->
    ok = lists:foreach(fun(Row) -> warp_cluster_withheld:forget(Context, target(Row), N, key(Row)) end, Rows),
    anyone(Context, Deletion).

rows(#{entity := Entity, shard := N, incarnation := Incarnation}, Nodes, Id) ->
    [#{deletion => Id, step => <<?NODE, (atom_to_binary(Node))/binary>>, entity => Entity, shard => N,
       incarnation => Incarnation, state => open, noted => false} || Node <- Nodes].

%% @doc A random number for a deletion.
-spec random() -> binary().
random() -> warp_random:hex(8).

%% @doc Notes what a deletion has to do on nodes that are members by now. The log is not erased yet.
-spec ensure(warp_context:context(), warp_erasure_list:open_list(), warp_erasure_list:entry()) -> ok | {error, term()}.
ensure(Context, List, #{entity := Entity} = Deletion) ->
    case missing(Context, Deletion) of
        {ok, []} ->
            ok;
        {ok, Rows} ->
            case warp_erasure_list:add_elsewhere(List, Rows) of
                ok ->
                    ok = insert(Context, Rows),
                    ok = more(Context, Rows, []),
                    only(Context, Deletion, nodes_of(open(Context, Entity)));
                {error, _} = Error ->
                    Error
            end;
        {error, _} = Error ->
            Error
    end.

missing(Context, #{entity := Entity} = Deletion) ->
    case warp_cluster_member:other_members(Context) of
        {ok, Nodes} ->
            Known = open(Context, Entity),
            Id = case Known of [#{deletion := Of} | _] -> Of; [] -> random() end,
            {ok, rows(Deletion, Nodes -- nodes_of(Known), Id)};
        {error, _} = Error ->
            Error
    end.

%% @doc Strikes out a step before the log, which left these steps to be taken once the log is erased.
-spec later(warp_context:context(), warp_erasure_list:open_list(), warp_erasure_list:entry(), warp_erasure_list:step(),
            [warp_erasure_list:step()]) -> ok | {error, term()}.
later(Context, List, #{entity := Entity, shard := N, incarnation := Incarnation}, Step, Later) ->
    Rows = [#{deletion => random(), step => Of, entity => Entity, shard => N, incarnation => Incarnation,
              state => open, noted => false} || Of <- Later],
    case warp_erasure_list:done(List, Entity, Step, Rows) of
        ok -> insert(Context, Rows);
        {error, _} = Error -> Error
    end.

%% @doc The log is erased: strikes those steps out, and notes what there is to do on all nodes that are members by now.
%% `kept': another life of the entity began before the other nodes knew of the deletion, and they keep it.
-spec erased(warp_context:context(), warp_erasure_list:open_list(), warp_erasure_list:entry(),
             [warp_erasure_list:step()], erased | kept) -> {ok, [row()]} | {error, term()}.
erased(Context, List, #{entity := Entity} = Deletion, Passed, Fate) ->
    case missing(Context, Deletion) of
        {ok, New} ->
            Rows = [Row#{state := fate(Row, Fate)} || Row <- open(Context, Entity) ++ New],
            Noted = Passed =:= [] andalso Rows =:= []
                orelse warp_erasure_list:erased(List, Entity, Passed, Rows),
            case Noted of
                {error, _} = Error ->
                    Error;
                _ ->
                    ok = insert(Context, New),
                    ok = more(Context, New, []),
                    ok = change(Context, Entity, Fate),
                    ok = anyone(Context, Deletion),
                    {ok, Rows}
            end;
        {error, _} = Error ->
            Error
    end.

change(#{elsewhere := Table} = Context, Entity, Fate) ->
    lists:foreach(
        fun({Key, #{shard := N} = Row}) ->
            _ = [ok = warp_cluster_withheld:forget(Context, Node, N, key(Row))
                 || Fate =:= kept, Node <- [target(Row)], is_atom(Node)],
            ets:update_element(Table, Key, {2, Row#{state := fate(Row, Fate)}})
        end,
        find(Context, Entity, open)).

%% What a component has left concerns the life that is erased.
fate(Row, Fate) ->
    case target(Row) of
        Node when is_atom(Node) -> Fate;
        _ -> erased
    end.

%% @doc The entity is kept: removes its deletion from the list, and has the other nodes forget it.
-spec kept(warp_context:context(), warp_erasure_list:open_list(), warp_erasure_list:entry()) -> ok | {error, term()}.
kept(Context, List, #{entity := Entity} = Deletion) ->
    case warp_erasure_list:kept(List, Entity) of
        ok ->
            _ = [delete(Context, Key, Row) || {Key, Row} <- find(Context, Entity, open), is_binary(target(Row))],
            ok = change(Context, Entity, kept),
            anyone(Context, Deletion);
        {error, _} = Error ->
            Error
    end.

%% ------------------------------------------------------------------ What other nodes have done

%% @doc A node knows of these deletions now, in that start of its context.
-spec knows(warp_context:context(), node(), [row()], warp_cluster_withheld:session()) -> ok.
knows(Context, Node, Rows, Session) ->
    lists:foreach(
        fun(#{shard := N} = Row) -> warp_cluster_withheld:knows(Context, Node, N, key(Row), Session) end, Rows).

%% @doc Nodes have refused and cleared their sagas under way.
-spec noted(warp_context:context(), warp_erasure_list:open_list(), [row()]) -> ok | {error, term()}.
noted(_Context, _List, []) ->
    ok;
noted(#{elsewhere := Table} = Context, List, Rows) ->
    case warp_erasure_list:noted(List, Rows) of
        ok ->
            lists:foreach(
                fun(Row) -> _ = [ets:update_element(Table, Key, {2, Now#{noted := true}})
                                 || {Key, Now} <- same(Context, Row)], ok end,
                Rows);
        {error, _} = Error ->
            Error
    end.

%% @doc These are done.
-spec drop(warp_context:context(), warp_erasure_list:open_list(), [row()]) -> ok | {error, term()}.
drop(_Context, _List, []) ->
    ok;
drop(Context, List, Rows) ->
    case warp_erasure_list:drop(List, Rows) of
        ok ->
            _ = [delete(Context, Key, Now) || Row <- Rows, {Key, Now} <- same(Context, Row)],
            ok;
        {error, _} = Error -> Error
    end.

%% @doc Why these are not done, as the callers of the deletions are told.
-spec failed(warp_context:context(), [row()], Why :: #{atom() => term()}) -> ok.
failed(#{elsewhere := Table} = Context, Rows, Why) ->
    lists:foreach(
        fun(Row) -> _ = [ets:update_element(Table, Key, {3, Why}) || {Key, _} <- same(Context, Row)], ok end, Rows).

%% ------------------------------------------------------------------ The table

insert(#{elsewhere := Table}, Rows) ->
    Now = os:system_time(microsecond),
    true = ets:insert(Table, [{{target(Row), Entity, erlang:unique_integer([monotonic])}, Row, #{}, Now}
                              || #{entity := Entity} = Row <- Rows]),
    ok.

delete(#{elsewhere := Table} = Context, {Target, _, _} = Key, #{shard := N} = Row) ->
    _ = [ok = warp_cluster_withheld:forget(Context, Target, N, key(Row)) || is_atom(Target)],
    true = ets:delete(Table, Key).

key(#{entity := Entity, deletion := Deletion}) -> {Entity, Deletion}.

%% @doc Who has to do what a row says.
-spec target(row()) -> target().
target(#{step := <<?NODE, Node/binary>>}) -> binary_to_atom(Node);
target(#{step := Step}) -> hd(binary:split(Step, <<":">>)).

%% @doc The nodes of these rows.
-spec nodes_of([row()]) -> [node()].
nodes_of(Rows) -> [Node || Row <- Rows, Node <- [target(Row)], is_atom(Node)].

same(#{elsewhere := Table}, #{entity := Entity, deletion := Deletion, step := Step} = Row) ->
    ets:select(Table, [{{{target(Row), Entity, '_'}, #{deletion => Deletion, step => Step}, '_', '_'}, [],
                        [{{{element, 1, '$_'}, {element, 2, '$_'}}}]}]).

find(#{elsewhere := Table} = Context, Entity, State) ->
    lists:append([ets:select(Table, [{{{Target, Entity, '_'}, #{state => State}, '_', '_'}, [],
                                      [{{{element, 1, '$_'}, {element, 2, '$_'}}}]}])
                  || Target <- targets(Context)]).

%% @doc What the deletion of the entity whose log may still be there has to do elsewhere.
-spec open(warp_context:context(), Entity :: binary()) -> [row()].
open(Context, Entity) -> [Row || {_, Row} <- find(Context, Entity, open)].

%% @doc What deletions of earlier lives of the entity have left: for each target, why it is not done.
-spec left(warp_context:context(), Entity :: binary()) -> [{target(), Why :: #{atom() => term()}}].
left(#{elsewhere := Table} = Context, Entity) ->
    [{Target, Why} || Target <- targets(Context),
                      Why <- ets:select(Table, [{{{Target, Entity, '_'}, #{state => erased}, '$1', '_'}, [], ['$1']}])].

%% @doc Erased lives of entities of shard N of which a node has not done its part, of each entity the last one: of so
%% many deletions at most, and whether these are all.
-spec left_for(warp_context:context(), node(), non_neg_integer(), pos_integer()) ->
    {[{Entity :: binary(), Life :: non_neg_integer()}], done | more}.
left_for(#{elsewhere := Table} = Context, Node, N, Max) ->
    {Keys, Then} = warp_cluster_withheld:left(Context, Node, N, Max),
    Lives = fun(Entity) ->
        ets:select(Table, [{{{Node, Entity, '_'}, #{state => erased, incarnation => '$1'}, '_', '_'}, [], ['$1']}])
    end,
    {[{Entity, lists:max(Of)} || Entity <- lists:usort([Id || {Id, _} <- Keys]), Of <- [Lives(Entity)], Of =/= []],
     Then}.

%% @doc All that have something left to do.
-spec targets(warp_context:context()) -> [target()].
targets(#{elsewhere := Table}) -> targets(ets:first(Table), Table).

targets('$end_of_table', _Table) -> [];
targets({Target, _, _}, Table) -> [Target | targets(ets:next(Table, {Target, ?LAST, 0}), Table)].

%% @doc Some of what a target has left to do, so many at most, behind that place or from the beginning; and the place
%% behind them. Of each entity only the earliest.
-spec next(warp_context:context(), target(), key() | none, pos_integer()) -> {[row()], key() | none}.
next(#{elsewhere := Table}, Target, none, Max) ->
    next(ets:next(Table, {Target, <<>>, 0}), Target, none, Max, Table, []);
next(#{elsewhere := Table}, Target, {_, Entity, _}, Max) ->
    next(ets:next(Table, {Target, Entity, infinity}), Target, none, Max, Table, []).

next(_Key, _Target, Last, 0, _Table, Rows) ->
    {lists:reverse(Rows), Last};
next({Target, Entity, _} = Key, Target, _Last, Max, Table, Rows) ->
    Found = [Row || [{_, Row, _, _}] <- [ets:lookup(Table, Key)]],
    next(ets:next(Table, {Target, Entity, infinity}), Target, Key, Max - 1, Table, Found ++ Rows);
next(_End, _Target, _Last, _Max, _Table, Rows) ->
    {lists:reverse(Rows), none}.

%% @doc How many deletions wait for each node, and for each component.
-spec count(warp_context:context()) -> #{target() => pos_integer()}.
count(#{elsewhere := Table} = Context) ->
    try
        maps:from_list([{Target, Count} || Target <- targets(Context),
                        Count <- [ets:select_count(Table, [{{{Target, '_', '_'}, #{state => erased}, '_', '_'}, [],
                                                            [true]}])],
                        Count > 0])
    catch
        %% The keeper of the table is being restarted.
        error:badarg -> #{}
    end.

%% @doc Since when the first of them waits, at most since the last start of the context.
-spec since(warp_context:context()) -> warp_core:micros() | none.
since(#{elsewhere := Table}) ->
    try lists:min(ets:select(Table, [{{'_', #{state => erased}, '_', '$1'}, [], ['$1']}])) of
        Since -> Since
    catch
        error:_ -> none
    end.
