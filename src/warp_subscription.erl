%% @doc Subscriptions: a process is sent the events of an entity or of a context, those that are stored already and
%% those that are still to come, without a gap and in order.
%%
%% ```
%% {ok, Sub} = warp_subscription:subscribe(Ctx, #{from => beginning, aggregates => [<<"Account">>]}),
%% receive
%%     {warp_subscription, Sub, {events, Events}} ->
%%         ok = handle(Events),
%%         ok = warp_subscription:ack(Sub, lists:last(Events))
%% end.
%% '''
%%
%% The subscriber gets these messages, each as `{warp_subscription, Sub, Message}':
%% <ul>
%% <li>`{events, [Event]}': at most 1000 events, see `t:warp_core:placed_event()'. Events of one entity come in the
%% order of their seqs, and events of one shard in the order of their positions.</li>
%% <li>`{caught_up, Cursor}': all that was stored has been sent; what follows is sent as it is stored. It comes again
%% when the subscription was behind in between.</li>
%% <li>`{checkpoint, Cursor}': everything up to there was acknowledged, or is not for this subscription. It comes at
%% most once a second.</li>
%% <li>`{erased, EntityId}': the entity was deleted. Nothing of it is sent any more, whatever was on its way. If the
%% entity begins a new life, its events follow. An entity whose events the filter's aggregates or types do not let
%% through is named too.</li>
%% </ul>
%% An event is sent only when it is on disk. A subscription ends with its subscriber, and when the context is stopped:
%% then the subscriber gets `{'DOWN', Ref, process, _, _}', where Ref is {@link monitor_of/1}.
%%
%% A subscriber that does not keep up costs nobody anything: what it is not sent stays in the file and is read later.
%% It has credit for so many events that it has not acknowledged; see {@link subscribe/2}.
-module(warp_subscription).

-include("base/warp_entity.hrl").

-export([subscribe/2, unsubscribe/1, ack/2, more/2, cursor/1, monitor_of/1]).

-export_type([subscription/0, cursor/0, options/0, message/0, error/0]).

%% How long these functions wait.
-define(TIMEOUT_MS, 5000).

-record(warp_subscription, {pid :: pid(), monitor :: reference()}).

%% A subscription, which belongs to the process that made it.
-opaque subscription() :: #warp_subscription{}.
%% Where a subscription stands: a short text of letters, digits, `-' and `_', which stays valid.
-type cursor() :: warp_subscription_cursor:cursor().
-type options() :: #{
    %% Where to begin: at the first event, with the next one that is stored, behind a cursor, or with the first event
    %% that was recorded at a time or later. Default: `now'.
    from => beginning | now | {cursor, cursor()} | {time, warp_core:micros()},
    %% Only events of these aggregates, by their current names. Default: of all.
    aggregates => all | [binary()],
    %% Only events of these types, as `migrate' gives them. Default: of all.
    types => all | [binary()],
    %% Only entities whose ids begin with it. Default: all. Not for a single entity.
    prefix => binary(),
    %% How many events may be sent and not acknowledged, 1 to 100000; or `demand': the subscriber asks for events with
    %% `more/2'. Default: 1000.
    credit => pos_integer() | demand
}.
-type message() ::
    {events, [warp_core:placed_event()]} | {caught_up | checkpoint, cursor()} | {erased, EntityId :: binary()}.
-type error() ::
    warp_check:wrong()
    | {bad_entity_id, term()}
    | {bad_cursor, not_a_cursor | of_an_entity | of_a_context | of_another_entity | {of_so_many_shards, pos_integer()}
                   | {ahead_of_log, Shard :: non_neg_integer()}}
    | context_stopped
    | {shard_unavailable, non_neg_integer()}
    | timeout
    | interrupted
    | {io_error | corrupt | internal, binary()}.

%% @doc Subscribes the calling process to an entity or to a whole context.
%%
%% With a number as `credit' so many events may be sent and not acknowledged, and {@link ack/2} makes room for others.
%% With `demand' nothing is sent until the subscriber has asked for it with {@link more/2}.
%%
%% Errors: `{bad_option, Key, Why}' and `{unknown_option, Key}'; `{bad_cursor, Why}' for a cursor that is none, that
%% belongs to something else, or that is ahead of a log, which was replaced by an older copy; `{shard_unavailable, N}'
%% while a shard is not open; `timeout' after 5 seconds; `context_stopped'; those of reading.
-spec subscribe(warp_core:ctx() | warp_core:entity(), options()) -> {ok, subscription()} | {error, error()}.
subscribe(#warp_entity{ref = Ref, id = Id, shard = N}, Options) ->
    case warp_context:find(Ref) of
        {ok, Context} ->
            case {N, warp_context:shard_of(Context, Id)} of
                {_, {ok, N}} -> subscribe(Context, {entity, Id}, [N], Options);
                {{bad_entity_id, _}, _} -> {error, N};
                _ -> {error, {bad_entity_id, not_a_handle}}
            end;
        not_found ->
            {error, context_stopped}
    end;
subscribe(Ctx, Options) ->
    case warp_context:of_handle(Ctx) of
        {ok, #{shards := Shards} = Context} ->
            subscribe(Context, {shards, Shards}, lists:seq(0, Shards - 1), Options);
        not_found ->
            {error, context_stopped}
    end.

subscribe(#{ref := Ref} = Context, Source, Shards, Options) ->
    case warp_subscription_options:subscribe(Source, Options) of
        {ok, Checked} ->
            Deadline = warp_deadline:from(?TIMEOUT_MS),
            case warp_subscription_start:start(Context, Source, Shards, Checked, Deadline) of
                {ok, Pid} -> begun(Pid, Ref, Deadline);
                {error, interrupted} -> warp_entity_call:stopped_or(Ref, interrupted);
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

begun(Pid, Ref, Deadline) ->
    Monitor = erlang:monitor(process, Pid),
    Sub = #warp_subscription{pid = Pid, monitor = Monitor},
    case warp_call:call(Pid, {'begin', Sub}, Deadline) of
        ok ->
            {ok, Sub};
        {error, Why} ->
            true = exit(Pid, kill),
            ok = forget(Sub),
            case Why of
                interrupted -> warp_entity_call:stopped_or(Ref, interrupted);
                timeout -> {error, timeout}
            end
    end.

%% @doc Ends a subscription. Its subscriber, who calls this, gets nothing of it any more, and has none of its messages
%% in the mailbox. Of one that has ended already this takes the messages out of the mailbox. Waits 5 seconds at most.
-spec unsubscribe(subscription()) -> ok.
unsubscribe(#warp_subscription{pid = Pid} = Sub) ->
    case warp_call:call(Pid, stop, warp_deadline:from(?TIMEOUT_MS)) of
        {error, timeout} -> true = exit(Pid, kill);
        _ -> ok
    end,
    forget(Sub).

forget(#warp_subscription{monitor = Monitor} = Sub) ->
    true = erlang:demonitor(Monitor, [flush]),
    flush(Sub).

flush(Sub) ->
    receive {warp_subscription, Sub, _} -> flush(Sub) after 0 -> ok end.

%% @doc Acknowledges an event, and with it all events of its shard that were sent before it. Events may be acknowledged
%% one by one, or the last one of each message. One that was not sent, or was acknowledged before, changes nothing.
-spec ack(subscription(), warp_core:placed_event()) -> ok.
ack(#warp_subscription{pid = Pid}, #{shard := N, position := Position, seq := Seq}) ->
    gen_server:cast(Pid, {ack, {N, Position, Seq}}).

%% @doc Asks for so many more events: beside those that the subscriber has asked for and was not sent yet, and, if the
%% subscription has a number as credit, beside those that acknowledging makes room for.
-spec more(subscription(), pos_integer()) -> ok.
more(#warp_subscription{pid = Pid}, Count) when is_integer(Count), Count > 0 ->
    gen_server:cast(Pid, {more, Count}).

%% @doc The cursor: up to where everything was acknowledged. A subscription from there on gets everything else. Error:
%% `subscription_ended', and `timeout' after 5 seconds.
-spec cursor(subscription()) -> {ok, cursor()} | {error, subscription_ended | timeout}.
cursor(#warp_subscription{pid = Pid}) ->
    case warp_call:call(Pid, cursor, warp_deadline:from(?TIMEOUT_MS)) of
        {error, interrupted} -> {error, subscription_ended};
        Answer -> Answer
    end.

%% @doc The monitor of a subscription: when the subscription ends, its subscriber gets `{'DOWN', Monitor, process, _,
%% _}'.
-spec monitor_of(subscription()) -> reference().
monitor_of(#warp_subscription{monitor = Monitor}) -> Monitor.
