%% @private A hand-off as the node sees it that has the shard: see {@link warp_cluster_handoff}.
%%
%% ```
%% serving -> offered -> freezing -> frozen -> committing | given -> cleaning -> recording
%%    ^          |          |          |                  |
%%    +----------+----------+----------+      the record `given' is written
%% '''
%% Up to `frozen' the attempt may end, and the node serves as before. While the record is being written the node waits
%% for that and for nothing else. A node that starts is `serving' or `given', as it has recorded. When the receiver was
%% forgotten before it said `owned', a node that is told to take the shard over looks whether it is whole, since it may
%% have begun to remove it (`verifying'), and records `own' again (`reclaiming').
-module(warp_cluster_giver).

-export([start/1, input/2, info/1]).

-export_type([giver/0, phase/0]).

-type phase() :: serving | offered | freezing | frozen | committing | given | cleaning | recording
               | verifying | reclaiming.

-record(giver, {
    held :: warp_cluster_record:held(),
    phase :: phase(),
    %% Of the attempt; `epoch' is the one at which the receiver will own the shard.
    to :: undefined | warp_cluster_handoff:member(),
    epoch :: undefined | warp_cluster_handoff:epoch(),
    attempt :: undefined | warp_cluster_handoff:attempt(),
    digest :: undefined | warp_cluster_handoff:digest(),
    extras :: term(),
    %% Since when the shard is this node's, when it takes it over.
    since :: undefined | warp_cluster_handoff:epoch(),
    %% Whether the receiver said something since the last look.
    heard = false :: boolean()
}).

-opaque giver() :: #giver{}.

%% When a message or what has failed is tried again.
-define(AGAIN_MS, 1000).
%% How long the receiver may say nothing before the shard is frozen.
-define(SILENCE_MS, 30000).
%% How long callers wait for a shard that is being handed over.
-define(PATIENCE_MS, 10000).

%% @doc With `own', or with `given' where the file was not removed.
-spec start(warp_cluster_record:held()) -> {[warp_cluster_handoff:effect()], giver()}.
start({own, Epoch} = Held) ->
    {[{serve, Epoch}], #giver{held = Held, phase = serving}};
start({given, Epoch, To, Attempt, Digest, false} = Held) ->
    enter(given, #giver{held = Held, phase = given, to = To, epoch = Epoch, attempt = Attempt, digest = Digest}).

-spec info(giver()) -> warp_cluster_handoff:info().
info(#giver{phase = serving}) -> {serving, none};
info(#giver{phase = Phase, epoch = Epoch, to = To, attempt = Attempt}) -> {Phase, {Epoch, To, Attempt}}.

%% @doc What follows. `{gave, Held}': nothing of the shard is left here.
-spec input(warp_cluster_handoff:input(), giver()) ->
    {[warp_cluster_handoff:effect()], giver() | {gave, warp_cluster_record:held()}}.
input({message, From, Message}, Giver) ->
    message(From, Message, Giver);
input({give, To, Attempt}, #giver{phase = serving, held = {own, Epoch}} = Giver) ->
    Offered = Giver#giver{to = To, epoch = Epoch + 1, attempt = Attempt, digest = undefined, extras = undefined,
                          heard = false},
    {Effects, Next} = enter(offered, Offered),
    {Effects ++ [{timer, ?SILENCE_MS, {silence, Attempt}}], Next};
input({give, To, Attempt}, Giver) ->
    {[{ended, To, Attempt, busy}], Giver};
input(cancel, Giver) ->
    over(cancelled, Giver);
input({take_over, Epoch, _Position, Lost}, #giver{phase = given, to = To} = Giver) ->
    case lists:member(To, Lost) of
        true -> enter(verifying, Giver#giver{since = Epoch});
        false -> {[], Giver}
    end;
input({verified, Result}, #giver{phase = verifying} = Giver) ->
    case Result of
        ok -> enter(reclaiming, Giver);
        {error, not_whole} -> enter(cleaning, Giver);
        {error, Why} -> failed({not_verified, Why}, Giver)
    end;
input({owner, Higher}, #giver{phase = given, epoch = Epoch} = Giver) when Higher > Epoch ->
    enter(cleaning, Giver);
input({timer, {again, Phase, Attempt}}, #giver{phase = Phase, attempt = Attempt} = Giver) ->
    enter(Phase, Giver);
input({timer, {silence, Attempt}}, #giver{phase = offered, attempt = Attempt, heard = Heard} = Giver) ->
    case Heard of
        true -> {[{timer, ?SILENCE_MS, {silence, Attempt}}], Giver#giver{heard = false}};
        false -> over(silent, Giver)
    end;
input({timer, {patience, Attempt}}, #giver{attempt = Attempt, phase = Phase} = Giver)
  when Phase =:= freezing; Phase =:= frozen ->
    over(too_slow, Giver);
input({closed, Attempt, Result}, #giver{phase = freezing, attempt = Attempt} = Giver) ->
    case Result of
        {ok, Digest, Extras} -> enter(frozen, Giver#giver{digest = Digest, extras = Extras});
        {error, Why} -> over({not_closed, Why}, Giver)
    end;
input({written, Result}, #giver{phase = Phase} = Giver)
  when Phase =:= committing; Phase =:= recording; Phase =:= reclaiming ->
    #{held := Held} = record(Giver),
    case {Result, Phase} of
        {ok, committing} -> gave(Giver#giver{held = Held});
        {ok, recording} -> {[], {gave, Held}};
        {ok, reclaiming} -> start(Held);
        {{error, Why}, _} -> failed({not_written, Why}, Giver)
    end;
input({cleaned, Result}, #giver{phase = cleaning} = Giver) ->
    case Result of
        ok -> enter(recording, Giver);
        {error, Why} -> failed({not_cleaned, Why}, Giver)
    end;
%% A timer, or an answer of an attempt that is over.
input(_Late, Giver) ->
    {[], Giver}.

gave(#giver{epoch = Epoch, to = To} = Giver) ->
    {Effects, Next} = enter(given, Giver),
    {[{moved, Epoch, To} | Effects], Next}.

%% ------------------------------------------------------------------ Messages

%% An owner that is out of date has been told so.
message(To, {refuse, Epoch, Attempt, {old_epoch, Since} = Why},
        #giver{to = To, epoch = Epoch, attempt = Attempt, phase = offered} = Giver) when Since >= Epoch ->
    {Effects, Next} = over({refused, Why}, Giver),
    {[{alarm, {contradicted, To, Since}} | Effects], Next};
message(To, {refuse, Epoch, Attempt, Why},
        #giver{to = To, epoch = Epoch, attempt = Attempt, phase = offered} = Giver) ->
    over({refused, Why}, Giver);
message(To, {staged, Epoch, Attempt, Staged},
        #giver{to = To, epoch = Epoch, attempt = Attempt, phase = frozen, digest = Digest} = Giver) ->
    case Staged of
        Digest ->
            enter(committing, Giver);
        _ ->
            {Effects, Next} = over(other_digest, Giver),
            {[{alarm, {other_digest, To, Epoch}} | Effects], Next}
    end;
message(To, {Kind, Epoch, Attempt}, #giver{to = To, epoch = Epoch, attempt = Attempt, phase = Phase} = Giver) ->
    case {Kind, Phase} of
        {accept, offered} -> {[], Giver#giver{heard = true}};
        {copied, offered} -> enter(freezing, Giver);
        {abandon, _} when Phase =:= offered; Phase =:= freezing; Phase =:= frozen -> over(abandoned, Giver);
        {owned, given} -> enter(cleaning, Giver);
        _ -> other(To, {Kind, Epoch, Attempt}, Giver)
    end;
message(From, {offer, Higher, _} = Offer, #giver{phase = Phase, held = Held} = Giver) ->
    case Higher > warp_cluster_record:epoch(Held) of
        %% Whoever offers has it from the one to whom it was given. The offer comes again.
        true when Phase =:= given -> enter(cleaning, Giver);
        true when Phase =:= cleaning; Phase =:= recording -> {[], Giver};
        true -> {[{alarm, {contradicted, From, Higher}}], Giver};
        false -> other(From, Offer, Giver)
    end;
message(From, Message, Giver) ->
    other(From, Message, Giver).

%% What is of the attempt under way and comes again is passed over, until it is decided.
other(To, Message, #giver{to = To, epoch = Epoch, attempt = Attempt, phase = Phase} = Giver)
  when element(2, Message) =:= Epoch, element(3, Message) =:= Attempt,
       (Phase =:= offered orelse Phase =:= freezing orelse Phase =:= frozen orelse Phase =:= committing) ->
    {[], Giver};
other(From, Message, #giver{held = Held} = Giver) ->
    {warp_cluster_record:answer(From, Message, Held), Giver}.

%% ------------------------------------------------------------------ Phases

enter(Phase, Giver) ->
    Next = Giver#giver{phase = Phase},
    {act(Next), Next}.

%% What is to be done in a phase, at first and again.
act(#giver{phase = Phase, to = To, epoch = Epoch, attempt = Attempt, digest = Digest, extras = Extras} = Giver) ->
    case Phase of
        offered -> [{send, To, {offer, Epoch, Attempt}}, again(Giver)];
        freezing -> [{freeze, Attempt}, {timer, ?PATIENCE_MS, {patience, Attempt}}];
        frozen -> [{send, To, {frozen, Epoch, Attempt, Digest, Extras}}, again(Giver)];
        given -> [{send, To, {given, Epoch, Attempt, Digest}}, again(Giver)];
        cleaning -> [clean];
        verifying -> [{verify, Digest}];
        _ when Phase =:= committing; Phase =:= recording; Phase =:= reclaiming -> [{write, record(Giver)}]
    end.

record(#giver{phase = reclaiming, since = Since}) ->
    #{held => {own, Since}, stage => none};
record(#giver{phase = Phase, to = To, epoch = Epoch, attempt = Attempt, digest = Digest}) ->
    #{held => {given, Epoch, To, Attempt, Digest, Phase =:= recording}, stage => none}.

again(#giver{phase = Phase, attempt = Attempt}) -> {timer, ?AGAIN_MS, {again, Phase, Attempt}}.

failed(Why, Giver) -> {[{alarm, Why}, again(Giver)], Giver}.

%% The attempt ends, if it is not decided.
over(Why, #giver{phase = Phase, to = To, epoch = Epoch, attempt = Attempt} = Giver)
  when Phase =:= offered; Phase =:= freezing; Phase =:= frozen ->
    {[{unfreeze, Attempt} || Phase =/= offered]
     ++ [{send, To, {void, Epoch, Attempt}}, {ended, To, Attempt, Why}],
     Giver#giver{phase = serving, to = undefined, epoch = undefined, attempt = undefined, digest = undefined,
                 extras = undefined}};
over(_Why, Giver) ->
    {[], Giver}.
