%% @private What a node has recorded of a shard, and the answers that follow from that alone.
%%
%% A record has two parts. `held' is the last that the node knows for certain: that it owns the shard, or gave it, when
%% and to whom. `stage' is a copy of the shard that the node has ready beside it: `staged' until it knows whether the
%% shard was given to it, `taken' from then on until it owns it. So a node that had the shard, gave it, and is to get it
%% back still knows that it gave it if that comes to nothing. `empty': the shard was lost with its owner, which was
%% forgotten, and this node will own it when it has made an empty one.
-module(warp_cluster_record).

-export([new/1, epoch/1, is_giver/1, answer/3, comes/1, left_of/2]).

-export_type([record/0, held/0, stage/0]).

-type record() :: #{held := held(), stage := stage()}.
-type held() ::
    none
    | {own, warp_cluster_handoff:epoch()}
    %% Since when the shard is the other node's, in which attempt it was given, with which digest, and whether
    %% nothing of it is left here.
    | {given, warp_cluster_handoff:epoch(), To :: warp_cluster_handoff:member(), warp_cluster_handoff:attempt(),
       warp_cluster_handoff:digest(), Cleaned :: boolean()}.
-type stage() ::
    none
    | {staged | taken, warp_cluster_handoff:epoch(), From :: warp_cluster_handoff:member(),
       warp_cluster_handoff:attempt(), warp_cluster_handoff:digest()}
    %% Where its log ends.
    | {empty, warp_cluster_handoff:epoch(), Position :: non_neg_integer()}.

%% @doc The record of the node that creates the shard, or of one that joins.
-spec new(creator | joiner) -> record().
new(creator) -> #{held => {own, 1}, stage => none};
new(joiner) -> #{held => none, stage => none}.

%% @doc The highest epoch of the shard that this node knows to have begun.
-spec epoch(held()) -> non_neg_integer().
epoch(none) -> 0;
epoch({own, Epoch}) -> Epoch;
epoch({given, Epoch, _, _, _, _}) -> Epoch.

%% @doc Whether the shard's file is here, to be served or to be removed.
-spec is_giver(held()) -> boolean().
is_giver({own, _}) -> true;
is_giver({given, _, _, _, _, Cleaned}) -> not Cleaned;
is_giver(none) -> false.

%% @doc Whether the node will own the shard, whatever others say.
-spec comes(record()) -> boolean().
comes(#{stage := {taken, _, _, _, _}}) -> true;
comes(#{stage := {empty, _, _}}) -> true;
comes(_Record) -> false.

%% @doc What the node has of a shard that these members got last or had last, if it has something: since which epoch it
%% would be the other's.
-spec left_of([warp_cluster_handoff:member()], record()) -> {ok, warp_cluster_handoff:epoch()} | none.
left_of(Members, #{held := Held, stage := Stage}) ->
    case {Stage, Held} of
        {{staged, Epoch, From, _, _}, _} -> if_of(From, Members, Epoch);
        {none, {given, Epoch, To, _, _, false}} -> if_of(To, Members, Epoch);
        _ -> none
    end.

if_of(Member, Members, Epoch) ->
    case lists:member(Member, Members) of
        true -> {ok, Epoch};
        false -> none
    end.

%% @doc What is answered to a message that is not of the attempt under way.
-spec answer(warp_cluster_handoff:member(), warp_cluster_handoff:message(), held()) ->
    [warp_cluster_handoff:effect()].
answer(From, {offer, Epoch, Attempt}, Held) ->
    [{send, From, {refuse, Epoch, Attempt, {old_epoch, epoch(Held)}}} || Epoch =< epoch(Held)];
%% The owner at an epoch that has begun got the shard, and it is this node that was told.
answer(From, {given, Epoch, Attempt, _}, Held) ->
    case Epoch =< epoch(Held) of
        true -> [{send, From, {owned, Epoch, Attempt}}];
        false -> [{alarm, {given_and_not_staged, From, Epoch}}]
    end;
answer(From, {staged, Epoch, Attempt, _}, Held) -> fate(From, Epoch, Attempt, Held);
answer(From, {Kind, Epoch, Attempt}, Held) when Kind =:= accept; Kind =:= copied; Kind =:= abandon ->
    fate(From, Epoch, Attempt, Held);
answer(_From, _Message, _Held) -> [].

%% NOTE: a node that knows less says nothing. If its record was lost, what the other has staged may be all that is left.
fate(To, Epoch, Attempt, {given, Epoch, To, Attempt, Digest, _}) -> [{send, To, {given, Epoch, Attempt, Digest}}];
fate(To, Epoch, Attempt, {given, Since, _, _, _, _}) when Epoch =< Since -> [{send, To, {void, Epoch, Attempt}}];
fate(To, Epoch, Attempt, {own, Since}) when Epoch =< Since + 1 -> [{send, To, {void, Epoch, Attempt}}];
fate(_To, _Epoch, _Attempt, _Held) -> [].
