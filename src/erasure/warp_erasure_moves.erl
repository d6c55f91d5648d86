%% @private Deletions that are not done move with the shard of their entities: what becomes of a list's deletions of
%% that shard on the node that gives it, and on the node that gets it. Pure.
-module(warp_erasure_moves).

-export([leaving/3, arriving/4]).

-export_type([given/0]).

-type entry() :: {warp_erasure_list:entry(), [warp_erasure_list:step()]}.
-type row() :: warp_erasure_list:elsewhere().
%% Deletions with the steps that the shard's node takes, and what they have left on other nodes.
-type given() :: {[entry()], [row()]}.

%% Where the log may still be there: see `warp_erasure_steps'.
-define(OPEN, [<<"log">>, <<"unless kept">>]).

%% @doc What goes with the shard. What is left on the node that gives it becomes its part of the deletion, as of any
%% other node. `Local' are the steps that each node takes by itself; `Id' gives random numbers for deletions.
-spec leaving(given(), {node(), Local :: [warp_erasure_list:step()]}, fun(() -> binary())) -> given().
leaving({Entries, Rows}, {Self, Local}, Id) ->
    Left = [{Entry, Steps -- Local} || {Entry, Steps} <- Entries],
    Own = lists:append([part(Entry, Steps, Rows, Self, Local, Id) || {Entry, Steps} <- Entries]),
    {[Of || {_, Steps} = Of <- Left, Steps =/= []], Rows ++ Own}.

part(#{entity := Entity, shard := N, incarnation := Incarnation}, Steps, Rows, Self, Local, Id) ->
    case {is_open(Steps), lists:any(fun(Step) -> lists:member(Step, Local) end, Steps)} of
        {false, false} ->
            [];
        {IsOpen, _} ->
            Known = [Of || #{deletion := Of, entity := At, state := open} <- Rows, IsOpen, At =:= Entity],
            Deletion = hd(Known ++ [Id()]),
            [#{deletion => Deletion, step => <<"node:", (atom_to_binary(Self))/binary>>, entity => Entity, shard => N,
               incarnation => Incarnation, state => case IsOpen of true -> open; false -> erased end,
               %% Its sagas were refused and cleared before its log was erased.
               noted => not IsOpen}]
    end.

is_open(Steps) -> lists:any(fun(Step) -> lists:member(Step, ?OPEN) end, Steps).

%% @doc What the list of the node that gets the shard has of it. This node's part becomes steps that it takes by itself,
%% unless it is done (`IsDone').
-spec arriving(given(), {node(), Local :: [warp_erasure_list:step()]}, non_neg_integer(),
               fun((Deletion :: binary()) -> boolean())) -> given().
arriving({Entries, Rows}, {Self, Local}, N, IsDone) ->
    Name = <<"node:", (atom_to_binary(Self))/binary>>,
    {Own, Others} = lists:partition(fun(#{step := Step}) -> Step =:= Name end, Rows),
    Parts = maps:from_list([{Entity, Incarnation}
                            || #{entity := Entity, incarnation := Incarnation, deletion := Id, state := erased} <- Own,
                               not IsDone(Id)]),
    Known = [{Entry, with(Local, Steps, is_open(Steps) orelse is_map_key(Entity, Parts))}
             || {#{entity := Entity} = Entry, Steps} <- Entries],
    Entities = [Entity || {#{entity := Entity}, _} <- Entries],
    New = [{#{entity => Entity, shard => N, incarnation => Incarnation}, Local}
           || {Entity, Incarnation} <- maps:to_list(Parts), not lists:member(Entity, Entities)],
    {Known ++ New, Others}.

%% In the order in which they are taken: before what other nodes have, behind the log.
with(_Local, Steps, false) ->
    Steps;
with(Local, Steps, true) ->
    {Before, After} = case lists:splitwith(fun(Step) -> not lists:member(Step, ?OPEN) end, Steps) of
                          {Behind, []} -> {[], Behind};
                          {First, [Log | Rest]} -> {First ++ [Log], Rest}
                      end,
    Before ++ Local ++ After.
