%% @doc Subscriptions: a process is sent the events of an entity or of a context, those that are stored already and
%% those that are still to come, without a gap and in order.
%%
%% ```
%% {ok, Sub} = warp_subscription:subscribe(Ctx, #{from => beginning, aggregates => [<<"Account">>]}),
%% receive
%%     {warp_subscription, Sub, {events, Events}} ->
%%         ok = handle(Events),
%%         ok = warp_subscription:ack(Sub, Events)
%% end.
%% '''
%%
%% The subscriber gets these messages, each as `{warp_subscription, Sub, Message}', or with the option `tag' as
%% `{Tag, Sub, Message}':
%% <ul>
%% <li>`{events, [Event]}': at most 1000 events, see `t:warp_core:placed_event()'. Events of one entity come in the
%% order of their seqs, and events of one shard in the order of their positions.</li>
%% <li>`{caught_up, Cursor}': all that was stored has been sent; what follows is sent as it is stored. It comes again
%% when the subscription was behind in between.</li>
%% <li>`{checkpoint, Cursor}': everything up to there was acknowledged, or is not for this subscription. It comes at
%% most once a second.</li>
%% <li>`{erased, EntityId}': the entity was deleted. Nothing of it is sent any more, whatever was on its way. If the
%% entity begins a new life, its events follow. An entity whose events the filter's aggregates or types do not let
%% through is named too. It needs no credit: a subscription ends with `{shutdown, erasures_not_taken}' where 10,000 of
%% them wait behind events that the subscriber does not take, or 100,000 messages in its mailbox.</li>
%% </ul>
%% An event is sent only when it is on disk. A subscription ends with its subscriber, and when the context is stopped:
%% then the subscriber gets `{'DOWN', Ref, process, _, _}', where Ref is {@link monitor_of/1}.
%%
%% A subscriber that does not keep up costs nobody anything: what it is not sent stays in the file and is read later.
%% It has credit for so many events that it has not acknowledged; see {@link subscribe/2}.
-module(warp_subscription).

-include("base/warp_entity.hrl").

-export([subscribe/2, unsubscribe/1, ack/2, more/2, cursor/1, monitor_of/1, place/2, cursor_at/2]).
-export([parked/2, retry/3, skip/3, forget/2]).
-export([transaction/4, policy/3]).

-export_type([subscription/0, cursor/0, place/0, options/0, message/0, error/0]).
-export_type([acked/0, waiting/0, name_error/0, command/0, command_error/0]).

%% How long these functions wait.
-define(TIMEOUT_MS, 5000).
%% How long a saga that follows from an event is waited for. It goes on afterwards, and is asked for again.
-define(SAGA_MS, 30000).

-record(warp_subscription, {pid :: pid(), monitor :: reference(), tag :: term()}).

%% A subscription, which belongs to the process that made it.
-opaque subscription() :: #warp_subscription{}.
%% Where a subscription stands: a short text of letters, digits, `-' and `_', which stays valid.
-type cursor() :: warp_subscription_cursor:cursor().
%% What a cursor says. Of an entity: its life, which is the position of its first event or 0 without events, and the seq
%% of the last event. Of a context: for each shard the position up to which everything was taken, and 0 for those that
%% are not there; or `{Position, Seq}': up to that event of the append at that position.
-type place() :: warp_subscription_cursor:places().
-type options() :: #{
    %% Where to begin: at the first event, with the next one that is stored, behind a cursor, or with the first event
    %% that was recorded at a time or later. Default: `now'.
    from => beginning | now | {cursor, cursor()} | {time, warp_core:micros()},
    %% The name of the subscription, 1 to 200 bytes of text: what is acknowledged is stored under it, and whoever
    %% subscribes with it goes on there. `from' counts only when the name is new. Default: none. Only of a context.
    name => binary(),
    %% How many subscribers of the name split the shards between them, up to the number of shards. Default: 1.
    consumers => pos_integer(),
    %% Only events of these aggregates, by their current names. Default: of all.
    aggregates => all | [binary()],
    %% Only events of these types, as `migrate' gives them. Default: of all.
    types => all | [binary()],
    %% Only entities whose ids begin with it. Default: all. Not for a single entity.
    prefix => binary(),
    %% Only this shard of the context. Default: all. Not with a name.
    shard => all | non_neg_integer(),
    %% How many events may be sent and not acknowledged, 1 to 100000; or `demand': the subscriber asks for events with
    %% `more/2'. Default: 1000.
    credit => pos_integer() | demand,
    %% What its messages begin with. Default: `warp_subscription'. For processes that tell messages apart by their first
    %% elements alone, as the selectors of Gleam do: they give each subscription another one, such as a reference.
    tag => term(),
    %% Gives what is sent in place of each event, for libraries of other languages. Default: the event itself. When it
    %% crashes the subscription ends. `fun M:F/1' outlasts a reload of its module.
    convert => fun((warp_core:placed_event()) -> term())
}.
-type message() ::
    {events, [warp_core:placed_event()]} | {caught_up | checkpoint, cursor()} | {erased, EntityId :: binary()}
    | {active, Shards :: [non_neg_integer()]}.
-type error() ::
    warp_check:wrong()
    | {bad_entity_id, term()}
    | {bad_cursor, not_a_cursor | of_an_entity | of_a_context | of_another_entity | {of_so_many_shards, pos_integer()}
                   | {ahead_of_log, Shard :: non_neg_integer()}}
    %% Other subscribers of that name have said another number as `consumers'.
    | {others_say, pos_integer()}
    | context_stopped
    | {shard_unavailable, non_neg_integer()}
    %% The node that has the shard cannot be reached.
    | {node_unavailable, node()}
    | timeout
    | interrupted
    | disk_full
    | {io_error | corrupt | internal, binary()}.
%% Which event is acknowledged: one that was sent, or these fields of it.
-type acked() :: #{shard := non_neg_integer(), position := pos_integer(), seq := warp_core:seq(), atom() => term()}.
%% An entity that waits, since a subscriber failed with its event at `seq', so many times: it is tried again by itself
%% while it is `retrying', and not any more when it is `parked'. `why' is the last error, and `since' when it failed
%% first.
-type waiting() :: #{
    entity := binary(),
    seq := warp_core:seq(),
    shard := non_neg_integer(),
    state := retrying | parked,
    tries := non_neg_integer(),
    why := binary(),
    since := warp_core:micros()
}.
%% In a cluster another node may keep the name: `{node_unavailable, Node}': it cannot be reached, and nothing was done;
%% `{unknown_outcome, Node}': it was lost after it was asked; `overloaded': it takes no requests just now.
-type name_error() ::
    unknown_subscription | context_stopped | interrupted | timeout | overloaded | disk_full
    | {node_unavailable | unknown_outcome, node()} | {shard_unavailable, non_neg_integer()}
    | {io_error | corrupt, binary()}.
%% What follows from an event: events that are appended to an entity as a batch, or a saga that is committed. The id of
%% the saga has to follow from the event too, so that the saga runs once.
-type command() :: {append, EntityId :: binary(), warp_core:new_event() | [warp_core:new_event()]}
                 | {saga, warp_saga:saga()}.
-type command_error() ::
    {bad_command, term()} | {command_failed, N :: pos_integer(), warp_core:write_error() | warp_saga:commit_error()}.

%% @doc Subscribes the calling process to an entity or to a whole context.
%%
%% With a number as `credit' so many events may be sent and not acknowledged, and {@link ack/2} makes room for others.
%% With `demand' nothing is sent until the subscriber has asked for it with {@link more/2}.
%%
%% With a `name' the subscription is durable: what is acknowledged is on disk at most a second later, and a later
%% subscription with that name gets everything else, also after a restart. One subscriber consumes a name at a time, or
%% as many as `consumers' says, who split the shards; others wait as standbys, and one takes over when a consumer ends.
%% A subscriber that becomes a consumer is sent `{active, Shards}' first. An erasure comes again until it is
%% acknowledged with `ack(Sub, {erased, EntityId})', also when it happened while nobody had subscribed.
%%
%% Errors: `{bad_option, Key, Why}' and `{unknown_option, Key}'; `{bad_cursor, Why}' for a cursor that is none, that
%% belongs to something else, or that is ahead of a log, which was replaced by an older copy, also for a name that is
%% ahead; `{others_say, N}'; `{shard_unavailable, N}' while a shard is not open; `{node_unavailable, Node}' where it
%% begins `now' or at a time, and that node cannot be asked (from a cursor it begins, and waits for the node), or where
%% that node keeps the name; `timeout' after 5 seconds; `context_stopped'; those of reading, and for a name those of
%% writing its file.
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
            Only = case Checked of #{shard := N} when N =/= all -> [N]; #{} -> Shards end,
            case warp_subscription_start:start(Context, Source, Only, Checked, Deadline) of
                {ok, Pid} -> begun(Pid, maps:get(tag, Checked), Ref, Deadline);
                {error, interrupted} -> warp_entity_call:stopped_or(Ref, interrupted);
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

begun(Pid, Tag, Ref, Deadline) ->
    Monitor = erlang:monitor(process, Pid),
    Sub = #warp_subscription{pid = Pid, monitor = Monitor, tag = Tag},
    case warp_call:call(Pid, {'begin', {Tag, Sub}}, Deadline) of
        ok ->
            {ok, Sub};
        {error, Why} ->
            true = exit(Pid, kill),
            ok = forget(Sub),
            case Why of
                interrupted -> warp_entity_call:stopped_or(Ref, interrupted);
                _ -> {error, Why}
            end
    end.

%% @doc Ends a subscription. Its subscriber, who calls this, gets nothing of it any more, and has none of its messages
%% in the mailbox. Of one that has ended already this takes the messages out of the mailbox. Waits 5 seconds at most.
-spec unsubscribe(subscription()) -> ok.
unsubscribe(Sub) ->
    Pid = pid(Sub),
    case warp_call:call(Pid, stop, warp_deadline:from(?TIMEOUT_MS)) of
        {error, timeout} -> true = exit(Pid, kill);
        _ -> ok
    end,
    forget(Sub).

forget(#warp_subscription{monitor = Monitor} = Sub) ->
    true = erlang:demonitor(Monitor, [flush]),
    flush(Sub).

flush(#warp_subscription{tag = Tag} = Sub) ->
    receive {Tag, Sub, _} -> flush(Sub) after 0 -> ok end.

%% @doc Acknowledges events: one of a message, and with it all events of its shard that were sent before it; or a list
%% of them, such as all of a message. The last one of a message does not stand for those of other shards in it. An
%% event that was not sent, or was acknowledged before, changes nothing, and neither does one of a subscription that has
%% ended: somebody else may consume its name by now.
%%
%% `{erased, EntityId}' acknowledges that the subscriber of a name has erased what it made of the entity's events.
%%
%% Error: `{bad_option, event, not_a_placed_event}' for anything else; then nothing is acknowledged. What is no
%% subscription raises `{not_a_subscription, Term}', here and in the functions below.
-spec ack(subscription(), acked() | [acked()] | {erased, EntityId :: binary()}) ->
    ok | {error, {bad_option, event, not_a_placed_event}}.
ack(Sub, What) ->
    Pid = pid(Sub),
    case acknowledged(What) of
        {ok, Places} -> lists:foreach(fun(Place) -> gen_server:cast(Pid, {ack, Place}) end, Places);
        error -> {error, {bad_option, event, not_a_placed_event}}
    end.

acknowledged({erased, Entity} = Erased) when is_binary(Entity) -> {ok, [Erased]};
acknowledged(Events) when is_list(Events) -> lasts(Events, #{});
acknowledged(Event) -> lasts([Event], #{}).

%% The last event of each shard.
lasts([#{shard := N} | [#{shard := N} | _] = Events], Lasts) ->
    lasts(Events, Lasts);
lasts([#{shard := N, position := Position, seq := Seq} | Events], Lasts)
  when is_integer(N), is_integer(Position), is_integer(Seq) ->
    lasts(Events, Lasts#{N => {N, Position, Seq}});
lasts([], Lasts) ->
    {ok, maps:values(Lasts)};
lasts(_, _Lasts) ->
    error.

%% @doc Asks for so many more events: beside those that the subscriber has asked for and was not sent yet, and, if the
%% subscription has a number as credit, beside those that acknowledging makes room for. Error: `{bad_option, count,
%% Why}' for what is no integer from 1 on.
-spec more(subscription(), pos_integer()) -> ok | {error, {bad_option, count, {not_an_integer_from, 1}}}.
more(Sub, Count) ->
    Pid = pid(Sub),
    case warp_check:one(count, Count, fun(N) -> warp_check:integer(N, 1, infinity) end) of
        {ok, _} -> gen_server:cast(Pid, {more, Count});
        {error, _} = Error -> Error
    end.

%% @doc The cursor: up to where everything was acknowledged. A subscription from there on gets everything else. Of one
%% with a name it is on disk when this returns, and stands for all consumers of the name. Errors: `subscription_ended';
%% `timeout' after 5 seconds; for a name those of writing its file, and `{node_unavailable, Node}' where that node keeps
%% it and cannot be reached.
-spec cursor(subscription()) ->
    {ok, cursor()}
    | {error, subscription_ended | timeout | overloaded | disk_full | {node_unavailable, node()}
              | {io_error | corrupt, binary()}}.
cursor(Sub) ->
    case warp_call:call(pid(Sub), cursor, warp_deadline:from(?TIMEOUT_MS)) of
        {error, interrupted} -> {error, subscription_ended};
        Answer -> Answer
    end.

%% @doc What a cursor of an entity or a context says, for programs that keep it in a form of their own. Errors:
%% `{bad_cursor, Why}', and `context_stopped'.
-spec place(warp_core:ctx() | warp_core:entity(), cursor()) ->
    {ok, place()} | {error, {bad_cursor, term()} | context_stopped}.
place(Of, Cursor) ->
    of_source(Of, fun(Source) ->
        case warp_subscription_cursor:decode(Source, Cursor) of
            {ok, _} = Place -> Place;
            {error, Why} -> {error, {bad_cursor, Why}}
        end
    end).

%% @doc The cursor of an entity or a context that says this: the other way round. Whether there is such a place is seen
%% when somebody subscribes from it. Error: `context_stopped'.
-spec cursor_at(warp_core:ctx() | warp_core:entity(), place()) -> {ok, cursor()} | {error, context_stopped}.
cursor_at(Of, Place) ->
    of_source(Of, fun(Source) -> {ok, warp_subscription_cursor:encode(Source, Place)} end).

of_source(#warp_entity{id = Id}, Use) ->
    Use({entity, Id});
of_source(Ctx, Use) ->
    case warp_context:of_handle(Ctx) of
        {ok, #{shards := Shards}} -> Use({shards, Shards});
        not_found -> {error, context_stopped}
    end.

%% @doc The monitor of a subscription: when the subscription ends, its subscriber gets `{'DOWN', Monitor, process, _,
%% _}'.
-spec monitor_of(subscription()) -> reference().
monitor_of(#warp_subscription{monitor = Monitor}) -> Monitor;
monitor_of(Term) -> error({not_a_subscription, Term}).

pid(#warp_subscription{pid = Pid}) -> Pid;
pid(Term) -> error({not_a_subscription, Term}).

%% ------------------------------------------------------------------ Names

%% @doc The entities that wait because a subscriber failed with an event of them, see {@link warp_subscriber}. Errors:
%% `unknown_subscription' when nobody has subscribed with that name; `interrupted' and `timeout'; those of its file.
-spec parked(warp_core:ctx(), Name :: binary()) -> {ok, [waiting()]} | {error, name_error()}.
parked(Ctx, Name) ->
    of_name(Ctx, fun(Context, Deadline) ->
        case warp_subscription_names:held(Context, Name, Deadline) of
            {ok, All} ->
                IsFirst = fun(#{since := A}, #{since := B}) -> A =< B end,
                {ok, lists:sort(IsFirst, [waiting(Held) || Held <- All])};
            {error, _} = Error -> Error
        end
    end).

waiting(#{state := State} = Held) ->
    Shown = case State of parked -> parked; _ -> retrying end,
    maps:remove(life, Held#{state := Shown}).

%% @doc Hands the event of an entity that waits to its subscriber again, now or as soon as there is one, and then those
%% behind it. Errors: `not_waiting', and those of {@link parked/2}.
-spec retry(warp_core:ctx(), Name :: binary(), EntityId :: binary()) -> ok | {error, not_waiting | name_error()}.
retry(Ctx, Name, Entity) ->
    of_name(Ctx, fun(Context, Deadline) ->
        warp_subscription_names:change(Context, Name, Entity, retrying, Deadline)
    end).

%% @doc Gives up the event of an entity that waits, and goes on behind it. Errors: those of {@link retry/3}.
-spec skip(warp_core:ctx(), Name :: binary(), EntityId :: binary()) -> ok | {error, not_waiting | name_error()}.
skip(Ctx, Name, Entity) ->
    of_name(Ctx, fun(Context, Deadline) ->
        warp_subscription_names:change(Context, Name, Entity, skipping, Deadline)
    end).

%% @doc Forgets a name: how far it is, and what waits. The next one who subscribes with it begins anew. Errors:
%% `{in_use, Pid}' while somebody has subscribed, and those of {@link parked/2}.
-spec forget(warp_core:ctx(), Name :: binary()) -> ok | {error, {in_use, pid()} | name_error()}.
forget(Ctx, Name) ->
    of_name(Ctx, fun(Context, Deadline) -> warp_subscription_names:forget(Context, Name, Deadline) end).

of_name(Ctx, Ask) ->
    case warp_context:of_handle(Ctx) of
        {ok, #{ref := Ref} = Context} ->
            case Ask(Context, warp_deadline:from(?TIMEOUT_MS)) of
                {error, interrupted} -> warp_entity_call:stopped_or(Ref, interrupted);
                Answer -> Answer
            end;
        not_found ->
            {error, context_stopped}
    end.

%% ------------------------------------------------------------------ What follows from an event

%% @doc Carries out what follows from an event, once, however often this is called for the same event under the same
%% name: each event that it appends has an id made of the name and of the event's place in the log. So what a subscriber
%% does in Warp happens exactly once, if the commands follow from the event alone.
%%
%% The commands are carried out in order, and an error ends that; those before it were carried out. Errors:
%% `{bad_option, Key, Why}' with the key `name' or `event'; `{bad_command, Term}'; `{command_failed, N, Why}' for the
%% Nth one, with an error of {@link warp_core:append_batch/2} or of {@link warp_saga:commit/3}. A saga that was
%% compensated or is stuck counts as carried out.
-spec transaction(warp_core:ctx(), Name :: binary(), warp_core:placed_event(), [command()]) ->
    ok | {error, command_error() | {bad_option, name | event, term()}}.
transaction(Ctx, Name, #{shard := N, position := Position, seq := Seq}, Commands) ->
    case warp_check:one(name, Name, fun warp_subscription_options:name/1) of
        {ok, _} -> carry_out(Commands, 1, Ctx, warp_text:format("~ts/~b.~b.~b", [Name, N, Position, Seq]));
        {error, _} = Error -> Error
    end;
transaction(_Ctx, _Name, _Event, _Commands) ->
    {error, {bad_option, event, not_a_placed_event}}.

carry_out([], _N, _Ctx, _Base) ->
    ok;
carry_out([Command | Commands], N, Ctx, Base) ->
    case command(Command, N, Ctx, Base) of
        {ok, _} -> carry_out(Commands, N + 1, Ctx, Base);
        {error, {bad_command, _}} = Error -> Error;
        {error, Why} -> {error, {command_failed, N, Why}}
    end;
carry_out(Term, _N, _Ctx, _Base) ->
    {error, {bad_command, Term}}.

command({append, Entity, #{} = Event}, N, Ctx, Base) ->
    command({append, Entity, [Event]}, N, Ctx, Base);
command({append, Entity, [_ | _] = Events}, N, Ctx, Base) when is_binary(Entity), length(Events) > 0 ->
    case [Term || Term <- Events, not is_map(Term)] of
        [] ->
            Named = with_ids(Events, 1, warp_text:format("~ts.~b", [Base, N])),
            warp_core:append_batch(warp_core:entity(Ctx, Entity), Named);
        [Term | _] -> {error, {bad_command, Term}}
    end;
command({saga, Saga}, _N, Ctx, _Base) ->
    warp_saga:commit(Saga, Ctx, #{wait => ?SAGA_MS});
command(Term, _N, _Ctx, _Base) ->
    {error, {bad_command, Term}}.

with_ids([], _I, _Base) -> [];
with_ids([Event | Events], I, Base) ->
    [Event#{id => warp_text:format("~ts.~b", [Base, I])} | with_ids(Events, I + 1, Base)].

%% @doc A policy: whenever there is an event that the filter lets through, what Fun makes of it is done, exactly once.
%% Fun gets the event, and as a function with two arguments the context too. It gives commands for {@link
%% transaction/4}, or `{error, Why}', which is a failure; it has no effects of its own. It is one of the
%% `subscribers' of `warp_core:start/1', with a name, retries and parking as in {@link warp_subscriber}, whose options
%% the filter may have.
-spec policy(Name :: binary(), warp_subscriber:options(), warp_policy:react()) -> warp_subscriber:subscriber().
policy(Name, Filter, Fun) ->
    warp_subscription_options:new_subscriber(Name, warp_policy, {Name, Fun}, Filter).
