%% @private A hand-off as the node sees it that does not have the shard: see {@link warp_cluster_handoff}.
%%
%% ```
%% idle -> copying -> copied -> sealing -> recording -> staged -> taking | adopting -> owning
%%  ^         |          |         |                      |              |
%%  +---------+----------+---------+      forgetting <----+     the record `taken' is written
%%  +-----------------------------------------+
%% ''' Until it has recorded `staged' the node may drop the attempt by itself, and forgets it when it ends. A node
%% that starts with `staged' reads the stage first (`checking'), since it must not say that it has what is not there.
%% If it is not there, the node asks what became of the attempt without saying so (`unsure'). If it was given the
%% shard, the shard is `lost' until somebody brings the stage back and starts the node again. A node that starts with
%% `taken' adopts.
%%
%% When the owner was forgotten, this node is told to take the shard over (`take_over'): what it has recorded as
%% `staged' counts as taken then; and where it has nothing, it records that it makes an empty shard (`replacing'), and
%% makes it (`creating').
-module(warp_cluster_receiver).

-export([start/1, input/2, info/1]).

-export_type([receiver/0, phase/0]).

-type phase() :: idle | copying | copied | sealing | recording | checking | staged | unsure | lost | forgetting
               | taking | adopting | replacing | creating | owning.

-record(receiver, {
    held :: warp_cluster_record:held(),
    phase :: phase(),
    %% Of the attempt, or when idle of the last one; `epoch' is the one at which this node will own the shard.
    from :: undefined | warp_cluster_handoff:member(),
    epoch :: undefined | warp_cluster_handoff:epoch(),
    attempt = <<>> :: warp_cluster_handoff:attempt(),
    digest :: undefined | warp_cluster_handoff:digest(),
    %% Of an empty shard that is made, where its log ends.
    position = 0 :: non_neg_integer(),
    %% Whether the giver said something since the last look.
    heard = false :: boolean()
}).

-opaque receiver() :: #receiver{}.

%% When a message or what has failed is tried again.
-define(AGAIN_MS, 1000).
%% How long the giver may say nothing before the attempt is dropped.
-define(SILENCE_MS, 30000).
%% How long what is staged is kept for another attempt.
-define(LEFTOVER_MS, 60000).

-define(IS_VOLATILE(Phase), (Phase =:= copying orelse Phase =:= copied orelse Phase =:= sealing)).
-define(IS_STAGED(Phase), (Phase =:= staged orelse Phase =:= unsure orelse Phase =:= lost)).

-spec start(warp_cluster_record:record()) -> {[warp_cluster_handoff:effect()], receiver()}.
start(#{held := Held, stage := none}) ->
    idle(#receiver{held = Held, phase = idle});
start(#{held := Held, stage := {empty, Epoch, Position}}) ->
    enter(creating, #receiver{held = Held, phase = creating, epoch = Epoch, position = Position});
start(#{held := Held, stage := {Kind, Epoch, From, Attempt, Digest}}) ->
    Phase = case Kind of staged -> checking; taken -> adopting end,
    enter(Phase, #receiver{held = Held, phase = Phase, from = From, epoch = Epoch, attempt = Attempt,
                           digest = Digest}).

-spec info(receiver()) -> warp_cluster_handoff:info().
info(#receiver{phase = idle}) -> {idle, none};
info(#receiver{phase = Phase, epoch = Epoch, from = From, attempt = Attempt}) -> {Phase, {Epoch, From, Attempt}}.

%% @doc What follows. `{owns, Held}': the shard is this node's.
-spec input(warp_cluster_handoff:input(), receiver()) ->
    {[warp_cluster_handoff:effect()], receiver() | {owns, warp_cluster_record:held()}}.
input({message, From, Message}, Receiver) ->
    message(From, Message, Receiver);
input({give, To, Attempt}, Receiver) ->
    {[{ended, To, Attempt, not_owner}], Receiver};
input(cancel, #receiver{phase = Phase} = Receiver) when ?IS_VOLATILE(Phase) ->
    abandon(Receiver);
input({take_over, Epoch, _Position, Lost}, #receiver{phase = staged, from = From} = Receiver) ->
    case lists:member(From, Lost) of
        true -> enter(taking, Receiver#receiver{epoch = Epoch});
        false -> {[], Receiver}
    end;
input({take_over, Epoch, Position, _Lost}, #receiver{phase = Phase, held = Held} = Receiver)
  when Phase =:= idle; Phase =:= unsure; Phase =:= lost; ?IS_VOLATILE(Phase) ->
    {Effects, Next} = enter(replacing, #receiver{held = Held, phase = replacing, epoch = Epoch, position = Position}),
    {[Stop || ?IS_VOLATILE(Phase), Stop <- stop(Receiver)] ++ Effects, Next};
%% NOTE: an epoch has one owner. The giver, whom this node asks, may have given that one to the other node, and be lost.
input({owner, Since}, #receiver{phase = Phase, epoch = Epoch} = Receiver) when ?IS_STAGED(Phase), Since >= Epoch ->
    enter(forgetting, Receiver);
input({timer, {again, Phase, Attempt}}, #receiver{phase = Phase, attempt = Attempt} = Receiver) ->
    enter(Phase, Receiver);
input({timer, {silence, Attempt}}, #receiver{phase = Phase, attempt = Attempt, heard = Heard} = Receiver)
  when ?IS_VOLATILE(Phase) ->
    case Heard of
        true -> {[{timer, ?SILENCE_MS, {silence, Attempt}}], Receiver#receiver{heard = false}};
        false -> abandon(Receiver)
    end;
input({timer, {leftover, Attempt}}, #receiver{phase = idle, attempt = Attempt} = Receiver) ->
    {[discard], Receiver};
input({copied, Attempt, Result}, #receiver{phase = copying, attempt = Attempt} = Receiver) ->
    case Result of
        ok -> enter(copied, Receiver);
        {error, _} -> abandon(Receiver)
    end;
input({sealed, Attempt, Result}, #receiver{phase = sealing, attempt = Attempt} = Receiver) ->
    case Result of
        ok -> enter(recording, Receiver);
        {error, _} -> abandon(Receiver)
    end;
input({checked, Attempt, Result}, #receiver{phase = checking, attempt = Attempt} = Receiver) ->
    case Result of
        ok ->
            enter(staged, Receiver);
        {error, Why} ->
            {Effects, Next} = enter(unsure, Receiver),
            {[{alarm, {not_staged, Why}} | Effects], Next}
    end;
input({adopted, Attempt, Result}, #receiver{phase = adopting, attempt = Attempt} = Receiver) ->
    case Result of
        ok -> enter(owning, Receiver);
        {error, Why} -> failed({not_adopted, Why}, Receiver)
    end;
input({created, Result}, #receiver{phase = creating} = Receiver) ->
    case Result of
        ok -> enter(owning, Receiver);
        {error, Why} -> failed({not_created, Why}, Receiver)
    end;
input({written, Result}, #receiver{phase = Phase} = Receiver)
  when Phase =:= recording; Phase =:= forgetting; Phase =:= taking; Phase =:= replacing; Phase =:= owning ->
    case {Result, Phase} of
        {ok, recording} -> enter(staged, Receiver);
        {ok, forgetting} -> idle(Receiver);
        {ok, taking} -> enter(adopting, Receiver);
        {ok, replacing} -> enter(creating, Receiver);
        {ok, owning} -> owns(Receiver);
        {{error, Why}, _} -> failed({not_written, Why}, Receiver)
    end;
%% A timer, an answer of an attempt that is over, or a cancellation of what only the giver can decide.
input(_Late, Receiver) ->
    {[], Receiver}.

owns(#receiver{from = From, epoch = Epoch, attempt = Attempt}) ->
    {[{send, From, {owned, Epoch, Attempt}} || From =/= undefined], {owns, {own, Epoch}}}.

%% ------------------------------------------------------------------ Messages

%% Those of the attempt under way come first, then offers of others.
message(From, {offer, Epoch, Attempt},
        #receiver{from = From, epoch = Epoch, attempt = Attempt, phase = Phase} = Receiver) when Phase =/= idle ->
    reminded(Receiver#receiver{heard = true});
message(From, {frozen, Epoch, Attempt, Digest, Extras},
        #receiver{from = From, epoch = Epoch, attempt = Attempt, phase = Phase} = Receiver) when Phase =/= idle ->
    case Phase of
        _ when Phase =:= copying; Phase =:= copied ->
            {[{seal, From, Attempt, Digest, Extras}],
             Receiver#receiver{phase = sealing, digest = Digest, heard = true}};
        _ ->
            reminded(Receiver#receiver{heard = true})
    end;
message(From, {void, Epoch, Attempt},
        #receiver{from = From, epoch = Epoch, attempt = Attempt, phase = Phase} = Receiver) ->
    case Phase of
        _ when ?IS_VOLATILE(Phase) -> dropped(Receiver);
        _ when ?IS_STAGED(Phase) -> enter(forgetting, Receiver);
        _ -> {[], Receiver}
    end;
message(From, {given, Epoch, Attempt, Digest},
        #receiver{from = From, epoch = Epoch, attempt = Attempt, digest = Digest, phase = Phase} = Receiver) ->
    case Phase of
        staged -> enter(taking, Receiver);
        unsure -> {[{alarm, {lost, From, Epoch}}], Receiver#receiver{phase = lost}};
        %% It knows already, or the giver says it again when it is asked.
        _ when Phase =:= lost; Phase =:= checking; Phase =:= taking; Phase =:= adopting; Phase =:= owning ->
            {[], Receiver};
        _ -> {[{alarm, {given_and_not_staged, From, Epoch}}], Receiver}
    end;
message(From, {offer, Higher, Attempt} = Offer, #receiver{held = Held, epoch = Epoch, phase = Phase} = Receiver) ->
    case Higher > warp_cluster_record:epoch(Held) of
        false -> {warp_cluster_record:answer(From, Offer, Held), Receiver};
        true when Phase =:= idle -> begin_copying(From, Higher, Attempt, Receiver);
        %% What is under way would have led to an epoch that another node has had.
        true when Higher > Epoch, ?IS_VOLATILE(Phase) ->
            {Effects, Next} = begin_copying(From, Higher, Attempt, Receiver),
            {stop(Receiver) ++ Effects, Next};
        true when Higher > Epoch, ?IS_STAGED(Phase) -> enter(forgetting, Receiver);
        %% Whoever gives what is under way answers `void' if that is over. This offer may be the one that is.
        true -> reminded(Receiver)
    end;
message(From, {frozen, Epoch, Attempt, _, _}, #receiver{held = Held} = Receiver) ->
    {[{send, From, {abandon, Epoch, Attempt}} || Epoch > warp_cluster_record:epoch(Held)], Receiver};
message(From, Message, #receiver{held = Held} = Receiver) ->
    {warp_cluster_record:answer(From, Message, Held), Receiver}.

begin_copying(From, Epoch, Attempt, Receiver) ->
    {Effects, Next} = enter(copying, Receiver#receiver{from = From, epoch = Epoch, attempt = Attempt,
                                                       digest = undefined, heard = true}),
    {Effects ++ [{copy, From, Attempt}, {timer, ?SILENCE_MS, {silence, Attempt}}], Next}.

%% Says again what it said last.
reminded(#receiver{phase = Phase} = Receiver) when Phase =:= copying; Phase =:= copied; Phase =:= staged ->
    {said(Receiver), Receiver};
reminded(Receiver) ->
    {[], Receiver}.

said(#receiver{phase = Phase, from = From, epoch = Epoch, attempt = Attempt, digest = Digest}) ->
    case Phase of
        copying -> [{send, From, {accept, Epoch, Attempt}}];
        copied -> [{send, From, {copied, Epoch, Attempt}}];
        staged -> [{send, From, {staged, Epoch, Attempt, Digest}}];
        unsure -> [{send, From, {abandon, Epoch, Attempt}}]
    end.

%% ------------------------------------------------------------------ Phases

enter(Phase, Receiver) ->
    Next = Receiver#receiver{phase = Phase},
    {act(Next), Next}.

%% What is to be done in a phase, at first and again.
act(#receiver{phase = Phase, attempt = Attempt, digest = Digest} = Receiver) ->
    case Phase of
        _ when Phase =:= copying; Phase =:= copied -> said(Receiver);
        _ when Phase =:= staged; Phase =:= unsure -> said(Receiver) ++ [again(Receiver)];
        checking -> [{check, Attempt, Digest}];
        adopting -> [{adopt, Attempt, Digest}];
        creating -> [{create, Receiver#receiver.position}];
        _ -> [{write, record(Receiver)}]
    end.

record(#receiver{phase = owning, epoch = Epoch}) ->
    #{held => {own, Epoch}, stage => none};
record(#receiver{phase = replacing, held = Held, epoch = Epoch, position = Position}) ->
    #{held => Held, stage => {empty, Epoch, Position}};
record(#receiver{phase = Phase, held = Held, from = From, epoch = Epoch, attempt = Attempt, digest = Digest}) ->
    #{held => Held,
      stage => case Phase of
                   recording -> {staged, Epoch, From, Attempt, Digest};
                   taking -> {taken, Epoch, From, Attempt, Digest};
                   forgetting -> none
               end}.

again(#receiver{phase = Phase, attempt = Attempt}) -> {timer, ?AGAIN_MS, {again, Phase, Attempt}}.

failed(Why, Receiver) -> {[{alarm, Why}, again(Receiver)], Receiver}.

abandon(#receiver{from = From, epoch = Epoch, attempt = Attempt} = Receiver) ->
    {Effects, Next} = dropped(Receiver),
    {[{send, From, {abandon, Epoch, Attempt}} | Effects], Next}.

dropped(Receiver) ->
    {Effects, Next} = idle(Receiver),
    {stop(Receiver) ++ Effects, Next}.

stop(#receiver{attempt = Attempt}) -> [{stop, Attempt}].

idle(#receiver{attempt = Attempt} = Receiver) ->
    {[{timer, ?LEFTOVER_MS, {leftover, Attempt}}], Receiver#receiver{phase = idle}}.
