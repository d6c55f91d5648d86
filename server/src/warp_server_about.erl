%% @private What each operation that HTTP has is about, as data: for people, and which answers it gives. Pure.
%%
%% A route of {@link warp_server_router} whose operation is missing here, and an argument of {@link warp_server_args}
%% without a description, fail the tests of {@link warp_server_openapi}.
-module(warp_server_about).

-export([operations/0, tags/0, argument/2, arguments/0]).

-export_type([about/0, tag/0]).

-type tag() :: server | writing | reading | lists | streams | queries | sagas | subscriptions.
-type about() :: #{
    tag := tag(),
    summary := binary(),
    details => binary(),
    %% The type of the answer, and its schema by the name that warp_server_schemas:named/0 has. A stream is JSON, or
    %% server-sent events of it, and so is what somebody consumes.
    answer := {json | stream | consumed, Schema :: atom()} | {Type :: binary(), Each :: binary()},
    %% The codes of errors that only some operations give.
    errors := [atom()]
}.

%% @doc The parts that the operations are shown in.
-spec tags() -> [{tag(), binary()}].
tags() ->
    [{writing, <<"Events of entities are appended, by themselves or by commands, and deleted.">>},
     {reading, <<"States, histories and exports of entities.">>},
     {lists, <<"The entities and events of a context.">>},
     {streams, <<"Events for clients of the protocol Durable Streams, of which this is the half that reads.">>},
     {queries, <<"SQL over the projections.">>},
     {sagas, <<"Operations over several entities, which are reversed where a step is refused.">>},
     {subscriptions, <<"A subscription with a name keeps its place: its events are consumed and acknowledged, by one "
                       "client at a time. Subscriptions without a name need the WebSocket.">>},
     {server, <<"The server itself.">>}].

%% @doc Every operation that has a path.
-spec operations() -> #{atom() => about()}.
operations() ->
    #{health =>
          #{tag => server, summary => <<"Whether the server answers">>, answer => {json, 'Health'}, errors => []},
      openapi =>
          #{tag => server, summary => <<"This description">>, answer => {json, 'Description'}, errors => []},
      token =>
          #{tag => server, summary => <<"Make a signed token">>,
            details => <<"It may do no more than the token that makes it, and lasts no longer. It is for a program "
                         "that is trusted less, such as a page in a browser.">>,
            answer => {json, 'Token'}, errors => [forbidden]},
      stats =>
          #{tag => server, summary => <<"The counters of a context">>,
            details => <<"Since the context was started, in all and by shard.">>,
            answer => {json, 'Stats'}, errors => []},
      append =>
          #{tag => writing, summary => <<"Append an event, or several as a batch">>,
            details => <<"All events of a batch are stored, or none. After `timeout`, `interrupted` and "
                         "`unknown_outcome` they may be stored: events with ids are stored once, however often they "
                         "are sent.">>,
            answer => {json, 'Appended'}, errors => writing()},
      command =>
          #{tag => writing, summary => <<"Run a command">>,
            details => <<"The command decides in the entity's process which events are appended.">>,
            answer => {json, 'Decided'}, errors => [unknown_command, decide_failed | writing()]},
      delete =>
          #{tag => writing, summary => <<"Delete an entity">>,
            details => <<"With all its events and the rows that were made of them. One that does not exist is deleted "
                         "too. The answer is the receipt, which Warp does not keep.">>,
            answer => {json, 'Receipt'}, errors => [disk_full, still_to_erase | entity()]},
      get =>
          #{tag => reading, summary => <<"The state of an aggregate, now or as it was">>,
            details => <<"As it was after a seq, or at a time, but not both.">>,
            answer => {json, 'State'}, errors => [state_not_json | reading()]},
      history =>
          #{tag => reading, summary => <<"The events of an entity">>,
            details => <<"A page has some MiB at most, whatever its limit. `next` of the answer is `from` of the next "
                         "page.">>,
            answer => {json, 'History'}, errors => reading()},
      export =>
          #{tag => reading, summary => <<"All events of an entity as they were stored">>,
            details => <<"One a line, as a stream. A stream that cannot be finished is broken off, which a client sees "
                         "as an error of the connection.">>,
            answer => {<<"application/x-ndjson">>, <<"Lines, each of which is an Event.">>}, errors => reading()},
      entities =>
          #{tag => lists, summary => <<"The entities of a context">>,
            details => <<"In no order that means anything. `next` of the answer is `after` of the next page.">>,
            answer => {json, 'Entities'}, errors => listing()},
      events =>
          #{tag => lists, summary => <<"The events of a context, shard after shard">>,
            details => <<"A page ends where an append ends, and so has somewhat more events than its limit now and "
                         "then. `next` of the answer is `after` of the next page; `more` says whether it has any.">>,
            answer => {json, 'Events'}, errors => listing()},
      entity_stream =>
          #{tag => streams, summary => <<"The events of an entity as a stream">>,
            details => <<"Also of an entity that has no events yet.">>,
            answer => {stream, 'PlacedEvent'}, errors => [gone, subscription_ended | reading()]},
      shard_stream =>
          #{tag => streams, summary => <<"The events of a shard as a stream">>,
            details => <<"A context has as many streams as shards, since only events of one shard have an order.">>,
            answer => {stream, 'PlacedEvent'},
            errors => [not_found, gone, subscription_ended, overloaded | functions() ++ listing()]},
      query =>
          #{tag => queries, summary => <<"Run an SQL statement that only reads">>,
            answer => {json, 'Rows'},
            errors => [no_projections, read_only, sql_error, too_many_rows, result_too_large, query_too_large, timeout,
                       interrupted, target_away, bad_param, bad_params]},
      saga =>
          #{tag => sagas, summary => <<"Run a saga, and wait for its end">>,
            details => <<"The same saga again gives the result of the first time. One whose caller waits no longer "
                         "goes on.">>,
            answer => {json, 'Saga'},
            errors => [bad_entity_id, bad_saga, empty_saga, too_many_steps, bad_step, batch_too_large_bytes,
                       saga_conflict, saga_waits, disk_full, unknown_aggregate | saga()]},
      saga_status =>
          #{tag => sagas, summary => <<"How far a saga is">>, answer => {json, 'Saga'}, errors => one_saga()},
      saga_retry =>
          #{tag => sagas, summary => <<"Try the compensations of a stuck saga again">>, answer => {json, 'Saga'},
            errors => [not_stuck, saga_waits | one_saga()]},
      saga_resolve =>
          #{tag => sagas, summary => <<"Close a stuck saga as it is">>, answer => {json, 'Saga'},
            errors => [not_stuck, saga_waits, bad_note | one_saga()]},
      saga_cancel =>
          #{tag => sagas, summary => <<"Turn a saga back">>,
            details => <<"Unless all its steps are applied. One that has come to its end gives its result.">>,
            answer => {json, 'Saga'}, errors => [saga_waits | one_saga()]},
      sagas =>
          #{tag => sagas, summary => <<"The sagas that are stuck or under way">>, answer => {json, 'Sagas'},
            errors => saga()},
      consume =>
          #{tag => subscriptions, summary => <<"The events that wait for a name">>,
            details => <<"At least once: what is not acknowledged comes again. The name, which the first request "
                         "makes, is held while something of the answer is not acknowledged, or as long as the "
                         "server-sent events last; `hold` says for how long at most. Meanwhile other clients wait, "
                         "and `active` says so.">>,
            answer => {consumed, 'Consumed'},
            errors => [bad_cursor, others_say, subscription_ended | functions() ++ name()]},
      acknowledge =>
          #{tag => subscriptions, summary => <<"Acknowledge everything up to an id">>,
            details => <<"That is on disk when this answers. Only the token that was given the id can do that.">>,
            answer => {json, 'Done'}, errors => [not_held, subscription_ended | name()]},
      parked =>
          #{tag => subscriptions, summary => <<"The entities that wait">>,
            details => <<"Since a subscriber failed with an event of theirs.">>,
            answer => {json, 'Parked'}, errors => name()},
      retry =>
          #{tag => subscriptions, summary => <<"Give an entity's event to the subscriber again">>,
            answer => {json, 'Done'}, errors => [not_waiting | name()]},
      skip =>
          #{tag => subscriptions, summary => <<"Go on behind the event that an entity waits with">>,
            answer => {json, 'Done'}, errors => [not_waiting | name()]},
      forget =>
          #{tag => subscriptions, summary => <<"Forget a name and its place">>, answer => {json, 'Done'},
            errors => [in_use | name()]}}.

%% What can go wrong with an entity, with reading it, with writing, and so on: see docs/errors.md.
entity() ->
    [bad_entity_id, shard_unavailable, timeout, interrupted, overloaded, node_unavailable, unknown_outcome | disk()].

disk() -> [io_error, corrupt].

functions() -> [migrate_failed, bad_return, stale_function].

reading() -> [unknown_aggregate, apply_failed | functions() ++ entity()].

writing() ->
    [bad_event, rejected, validate_failed, wrong_expected_seq, id_conflict, reserved_id, duplicate_event_id,
     empty_batch, batch_too_large, batch_too_large_bytes, disk_full | reading()].

listing() -> [shard_unavailable, node_unavailable, timeout, interrupted | functions() ++ disk()].

saga() ->
    [bad_saga_id, shard_unavailable, node_unavailable, unknown_outcome, overloaded, interrupted, timeout | disk()].

one_saga() -> [not_found | saga()].

name() ->
    [unknown_subscription, interrupted, timeout, overloaded, disk_full, node_unavailable, unknown_outcome,
     shard_unavailable | disk()].

%% @doc What an argument of an operation means.
-spec argument(Operation :: atom(), Name :: atom()) -> {ok, binary()} | error.
argument(Operation, Name) ->
    case arguments() of
        #{{Operation, Name} := Text} -> {ok, Text};
        #{Name := Text} -> {ok, Text};
        #{} -> error
    end.

%% @doc What arguments mean: by their names, and where one means something else for an operation, by both.
-spec arguments() -> #{atom() | {Operation :: atom(), atom()} => binary()}.
arguments() ->
    #{context => <<"The name of a context.">>,
      entity => <<"The id of an entity: at most 512 bytes of UTF-8. In a path it is one segment, a/b is a%2Fb.">>,
      aggregate => <<"The name of an aggregate.">>,
      {entities, aggregate} => <<"Only entities with events of this aggregate.">>,
      event => <<"The event.">>,
      events => <<"The events of a batch: 16 MiB at most.">>,
      expected => <<"What the seq of the entity's last event has to be; `no_stream` is 0.">>,
      timeout => <<"How many milliseconds to wait.">>,
      {saga, timeout} => <<"After how many milliseconds the saga turns back where it is not done. By default never.">>,
      seq => <<"The state after this event.">>,
      time => <<"The state at this time, in microseconds since 1970.">>,
      from => <<"The seq of the first event. By default the first event, or backward the last one.">>,
      direction => <<"In which order.">>,
      limit => <<"How many at most.">>,
      {export, limit} => <<"How many events at most. By default all.">>,
      {consume, limit} => <<"How many events may be given and not acknowledged.">>,
      {consume, wait} => <<"How many milliseconds to wait where there are no events, for one answer.">>,
      hold => <<"After how many milliseconds, in which nothing of what was given is acknowledged, others may have "
                "it.">>,
      {consume, live} => <<"For server-sent events. By default one answer.">>,
      {consume, from} => <<"Where a name begins that is new. By default with the next event. In place of it stands "
                           "`cursor` or `time`.">>,
      {consume, cursor} => <<"A name that is new begins behind this cursor of the context.">>,
      {consume, time} => <<"A name that is new begins with the first event that was recorded then or later, in "
                           "microseconds since 1970.">>,
      aggregates => <<"Only events of these aggregates. By default of all.">>,
      types => <<"Only events of these types. By default of all.">>,
      consumers => <<"How many clients split the shards: 1 unless all of them say otherwise.">>,
      id => <<"The id of the last event or erasure that is done, as it was given.">>,
      {command, name} => <<"The name of a command of the context.">>,
      name => <<"The name of a subscription.">>,
      input => <<"What the command gets.">>,
      prefix => <<"Only entities whose ids begin with it.">>,
      'after' => <<"`next` of the page before. By default the first page.">>,
      shard => <<"The number of a shard. By default all.">>,
      {shard_stream, shard} => <<"The number of a shard.">>,
      offset => <<"`Stream-Next-Offset` of the answer before; -1 is the beginning, and so is none; `now` is the end.">>,
      live => <<"Whether to wait for events at the end of the stream: for one answer, or for server-sent events.">>,
      cursor => <<"`Stream-Cursor` of the answer before.">>,
      sql => <<"One statement.">>,
      params => <<"The values of ?1, ?2 and so on.">>,
      max_rows => <<"More rows are an error.">>,
      saga => <<"The id of the saga, which it has for ever: at most 500 bytes of UTF-8.">>,
      steps => <<"The steps in their order. Those of a list of their own run side by side.">>,
      retries => <<"How often a step is tried again after an error that may pass.">>,
      wait => <<"How many milliseconds to wait for the end. The saga goes on all the same.">>,
      note => <<"Why: at most 4096 bytes of UTF-8.">>,
      state => <<"Which ones: `pending` are those under way.">>,
      seconds => <<"How long the token lasts.">>,
      scopes => <<"What the token may do. By default what the one that makes it may do.">>}.
