%% @private The hand-off of one shard, as one node sees it. Pure: an input gives effects, which are data, and the next
%% state. One such state stands for one shard on one node, for as long as the node runs: the node is the giver while it
%% has the shard ({@link warp_cluster_giver}), and the receiver otherwise ({@link warp_cluster_receiver}).
%%
%% Ownership is a token, and the record `given' of the owner alone decides who has it. Messages may be lost, doubled,
%% late and in any order, and each node may end at any moment. There is never a second owner, since
%%
%% - the giver records `given' for one attempt, only while the shard is closed in this attempt, and when its receiver
%%   has said `staged' with the digest of the closed file. From that record on it never serves.
%% - An attempt that ended without that is over for good. Its id is never used again, and what still comes of it is
%%   answered with `void'.
%% - The receiver takes the shard only when it is told `given' with the attempt and the digest that it has recorded as
%%   `staged'. While it does not know, it asks again and again.
%% - It drops a record `staged' only when its giver says `void', or when somebody offers the shard with a higher epoch,
%%   and so has it from another receiver.
%% - The giver removes its file only when the receiver has recorded `own', and says `owned'.
%%
%% A process carries this out. It starts with what is recorded of the shard ({@link start/1}), begins the effects of
%% each answer in their order, and those of one answer before those of the next. {@link effect()} says what each
%% effect is, and which input follows when it is done. Any of these inputs may be `{error, Why}' in place of `ok'. An
%% input may come late, when its attempt is over, except behind `stop': nothing follows from it then. When the process
%% or the node ends, it starts again with what is recorded.
%%
%% Six kinds of inputs come from elsewhere. `{message, From, Message}': whoever passes a message on has checked that it
%% comes from a member, in its present incarnation. `{give, To, Attempt}': the shard should be on another node.
%% `cancel': it should not any more, since the other node is lost, which ends what is not decided. `{take_over, Epoch,
%% Position, Lost}': the members Lost are no members any more, one of them had the shard, and this node alone was chosen
%% to have it from Epoch on, which is higher than any that they can have reached; what it has of the shard counts, and
%% if that is nothing it makes an empty one, whose log ends at Position. While something is written nothing follows, and
%% it comes again. `{owner, Epoch}': another node has recorded that it owns the shard since Epoch. `{timer, Tag}'. A
%% node that wants no shard, since it leaves or has no room, answers an offer with `refuse' itself, without asking here.
%%
%% The giver's process lets the receiver read the file's outline and pages for as long as {@link info/1} has this
%% receiver and attempt, in a phase of `offered', `freezing', `frozen', `committing' or `given'.
-module(warp_cluster_handoff).

-export([start/1, input/2, info/1, is_writing/1]).

-export_type([handoff/0, member/0, epoch/0, attempt/0, digest/0, input/0, effect/0, message/0, tag/0, phase/0,
              result/0, info/0]).

-type member() :: warp_cluster_ring:member().
%% Raised by each hand-off. The node that creates a shard owns it at epoch 1.
-type epoch() :: pos_integer().
%% 16 random bytes, never used again.
-type attempt() :: binary().
-type digest() :: binary().
-type result() :: ok | {error, Why :: term()}.

%% Each has the epoch at which the receiver will own the shard.
-type message() ::
    %% From the giver.
    {offer, epoch(), attempt()}
    | {frozen, epoch(), attempt(), digest(), Extras :: term()}
    | {given, epoch(), attempt(), digest()}
    %% This attempt is over, and never will be given.
    | {void, epoch(), attempt()}
    %% From the receiver.
    | {accept, epoch(), attempt()}
    | {refuse, epoch(), attempt(), Why :: term()}
    | {copied, epoch(), attempt()}
    | {staged, epoch(), attempt(), digest()}
    %% The receiver cannot go on. The answer says whether it was given the shard already.
    | {abandon, epoch(), attempt()}
    | {owned, epoch(), attempt()}.

-type input() ::
    {give, To :: member(), attempt()}
    | cancel
    | {take_over, epoch(), Position :: non_neg_integer(), Lost :: [member()]}
    | {owner, epoch()}
    | {message, From :: member(), message()}
    | {timer, tag()}
    | {written, result()}
    | {cleaned, result()}
    | {created | verified, result()}
    | {closed, attempt(), {ok, digest(), Extras :: term()} | {error, Why :: term()}}
    | {copied | sealed | checked | adopted, attempt(), result()}.

-type effect() ::
    {send, member(), message()}
    %% Replace the shard's record in one transaction, synced. Then `{written, ok}'. There is never more than one under
    %% way. After an error nobody knows what is on disk, so it is written until it succeeds, and meanwhile nothing
    %% else happens.
    | {write, warp_cluster_record:record()}
    %% Open the shard, and let those in who wait for it.
    | {serve, epoch()}
    %% Let nobody begin anything on the shard (callers wait), let entities finish, end the shard's processes, and
    %% close its file. Then `{closed, Attempt, {ok, Digest, Extras}}': the digest of the file, in which nothing can
    %% change any more, and what components keep beside it. If that takes long, `{closed, Attempt, {error, Why}}'.
    | {freeze, attempt()}
    %% End the freeze, also one that is still under way, and do as for `serve'.
    | {unfreeze, attempt()}
    %% The shard is that node's. Callers that wait are sent there, where they wait until it serves. Also at each start.
    | {moved, epoch(), member()}
    %% Blank the shard's records in the journal, overwrite and remove its file. Then `{cleaned, ok}'. It is done again
    %% after a crash, so it must not fail where nothing is left.
    | clean
    %% Pull the outline and the pages in which the stage differs, again and again while the giver goes on serving. When
    %% little is left, `{copied, Attempt, ok}'. It may itself try again until the giver says that the attempt is over.
    | {copy, From :: member(), attempt()}
    %% End `copy', pull the rest, compare the digest, store the extras beside, sync all. Then `{sealed, Attempt, ok}'.
    | {seal, From :: member(), attempt(), digest(), Extras :: term()}
    %% End `copy' or `seal'. What is staged stays, for another attempt. No `copied' or `sealed' of this attempt may be
    %% handed in behind that, also none that is on its way, since the same attempt may begin again.
    | {stop, attempt()}
    %% Read the whole stage with its extras, and compare. Then `{checked, Attempt, ok}'.
    | {check, attempt(), digest()}
    %% Make the stage the shard's file, give the extras to the components, and open nothing to anybody. Then
    %% `{adopted, Attempt, ok}'. It is done again after a crash, wherever that came, and is an error where neither the
    %% stage with this digest is there nor what it became.
    | {adopt, attempt(), digest()}
    %% Compare the file of the shard, which is closed. Then `{verified, ok}'; `{verified, {error, not_whole}}' where a
    %% part of it or all was removed.
    | {verify, digest()}
    %% Remove what there is of the shard, and make an empty one, whose log ends at the position. Then `{created, ok}'.
    | {create, Position :: non_neg_integer()}
    %% Overwrite and remove the stage, if there is one. The next `copy' waits for that.
    | discard
    %% Then `{timer, Tag}'. A timer replaces one with the same tag, and none has to be cancelled.
    | {timer, Millis :: pos_integer(), tag()}
    %% What `give' asked for has come to nothing, and something else may be tried.
    | {ended, To :: member(), attempt(), Why :: term()}
    %% For the log, and for statistics until something else happens: the shard stands still, or nodes contradict each
    %% other.
    | {alarm, Why :: term()}.

-type tag() :: {again, phase(), attempt()} | {silence | patience | leftover, attempt()}.
-type phase() :: warp_cluster_giver:phase() | warp_cluster_receiver:phase().

%% The phase, and of a hand-off under way the epoch it leads to, the other node, and the attempt; where an empty shard
%% is made there is no other node.
-type info() :: {phase(), none | {epoch(), member() | undefined, attempt()}}.

-opaque handoff() :: {giver, warp_cluster_giver:giver()} | {receiver, warp_cluster_receiver:receiver()}.

%% @doc At a start of the node, with what is recorded of the shard.
-spec start(warp_cluster_record:record()) -> {[effect()], handoff()}.
start(#{held := {given, Epoch, To, _, _, _}} = Record) ->
    {Effects, Handoff} = begun(Record),
    {[{moved, Epoch, To} | Effects], Handoff};
start(Record) ->
    begun(Record).

begun(#{held := Held, stage := none} = Record) ->
    case warp_cluster_record:is_giver(Held) of
        true -> giver(warp_cluster_giver:start(Held));
        false -> receiver(warp_cluster_receiver:start(Record))
    end;
begun(Record) ->
    receiver(warp_cluster_receiver:start(Record)).

%% @doc What follows from an input. Each input may come at any time.
-spec input(input(), handoff()) -> {[effect()], handoff()}.
input(Input, {giver, Giver}) ->
    case warp_cluster_giver:input(Input, Giver) of
        {Effects, {gave, Held}} -> behind(Effects, begun(#{held => Held, stage => none}));
        Next -> giver(Next)
    end;
input(Input, {receiver, Receiver}) ->
    case warp_cluster_receiver:input(Input, Receiver) of
        {Effects, {owns, Held}} -> behind(Effects, begun(#{held => Held, stage => none}));
        Next -> receiver(Next)
    end.

giver({Effects, Giver}) -> {Effects, {giver, Giver}}.

receiver({Effects, Receiver}) -> {Effects, {receiver, Receiver}}.

behind(Effects, {More, Handoff}) -> {Effects ++ More, Handoff}.

%% @doc What the node is doing about the shard: `serving', `idle', or a phase of a hand-off.
-spec info(handoff()) -> info().
info({giver, Giver}) -> warp_cluster_giver:info(Giver);
info({receiver, Receiver}) -> warp_cluster_receiver:info(Receiver).

%% @doc Whether a record is being written, so that what is recorded may be the record before it or behind it.
-spec is_writing(handoff()) -> boolean().
is_writing(Handoff) ->
    {Phase, _} = info(Handoff),
    lists:member(Phase, [committing, recording, reclaiming, forgetting, taking, replacing, owning]).
