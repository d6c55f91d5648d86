%% @private JSON schemas of what goes in and out, for the description of the paths. Pure.
-module(warp_server_schemas).

-export([named/0, argument/1, ref/1]).

-define(MAX_INTEGER, 16#7fffffffffffffff).

%% @doc The schema of an argument of a type.
-spec argument(warp_server_args:type()) -> map().
%% They stand in queries, which have no NUL.
argument({text, Min, any}) -> #{type => string, minLength => Min, pattern => <<"^[^\\u0000]*$">>};
argument({text, Min, Max}) -> #{type => string, minLength => Min, maxLength => Max};
argument({integer, Min, Max}) -> integer(Min, Max);
argument({one_of, Atoms}) -> #{type => string, enum => Atoms};
argument(boolean) -> #{type => boolean};
argument(texts) -> array(text());
argument(object) -> object();
argument({engine, event}) -> ref('NewEvent');
argument({engine, events}) -> #{type => array, minItems => 1, maxItems => 10000, items => ref('NewEvent')};
argument({engine, steps}) ->
    #{type => array, minItems => 1, maxItems => 1000,
      items => #{oneOf => [ref('Step'), #{type => array, minItems => 1, maxItems => 1000, items => ref('Step')}]}};
argument({engine, params}) ->
    #{type => array, maxItems => 32766, items => #{type => [string, number, boolean, <<"null">>]}};
argument(expected) -> #{oneOf => [#{type => string, enum => [any, no_stream]}, seq()]};
argument(scopes) -> array(ref('Scope'));
argument(Place) when Place =:= place; Place =:= positions -> #{type => string, pattern => <<"^[A-Za-z0-9_-]*$">>}.

%% @doc The schemas that have names.
-spec named() -> #{atom() => map()}.
named() ->
    #{'Problem' => problem(),
      'Object' => #{type => object, description => <<"Any object of JSON.">>},
      'Health' => closed([status], #{status => #{const => ok}}),
      'Description' => open([openapi, info, paths], #{openapi => text(), info => object(), paths => object()}),
      'NewEvent' => new_event(),
      'Event' => open([type, payload, aggregate, id, schema_vsn, metadata, seq, recorded_at], event()),
      'PlacedEvent' => open([entity, shard, position | maps:keys(event())], placed_event()),
      'Appended' => #{oneOf => [closed([seq], #{seq => seq(1)}),
                                closed([first, last], #{first => seq(1), last => seq(1)})]},
      'State' => open([state], #{state => #{description => <<"The state, or what the context's view shows of it.">>}}),
      'History' => open([events, next], #{events => array(ref('Event')), next => nullable(seq(1))}),
      'Receipt' => open([entity, deleted, shard, events, erased_at, erased_from, nodes, backups],
                        #{entity => text(), deleted => #{const => true}, shard => seq(),
                          events => said(seq(), <<"How many events were erased.">>), erased_at => micros(),
                          erased_from => said(array(text()), <<"The parts of Warp that hold nothing of it any more.">>),
                          nodes => array(text()),
                          backups => said(array(seq()), <<"Of each backup of the context the last cut: no cut up to it "
                                                          "has anything of the entity that can be read.">>)}),
      'Decided' => open([seqs], #{seqs => array(seq(1))}),
      'Entities' => open([entities, next],
                         #{entities => array(open([id, seq], #{id => text(), seq => seq()})),
                           next => nullable(argument(place))}),
      'Events' => open([events, next, more],
                       #{events => array(ref('PlacedEvent')), next => argument(positions),
                         more => argument(boolean)}),
      'Rows' => open([columns, rows],
                     #{columns => array(text()),
                       rows => array(array(#{anyOf => [#{type => [string, number, boolean, <<"null">>]},
                                                       closed([blob], #{blob => text()})]}))}),
      'Step' => closed([entity, aggregate, forward, compensate],
                       #{entity => name(), aggregate => name(), schema_vsn => schema_vsn(),
                         forward => ref('Action'), compensate => ref('Action')}),
      'Action' => #{oneOf => [ref('EventAction'), ref('FunctionAction')]},
      'EventAction' => closed([type, payload], #{type => name(), payload => object()}),
      'FunctionAction' => closed([run], #{run => said(name(), <<"A step function of the context.">>),
                                          input => object()}),
      'Saga' => open([id, result, steps],
                     maps:merge(saga(), #{result => #{enum => saga_states()}})),
      'Sagas' => open([sagas],
                      #{sagas => array(open([id], maps:merge(saga(), #{state => #{enum => saga_states()}})))}),
      'Failure' => open([reason, step, entity],
                        #{step => nullable(seq()), entity => nullable(text()), reason => ref('Problem')}),
      'Stats' => open([shards], #{shards => array(object())}),
      'Consumed' => open([messages, active],
                         #{messages => array(ref('Message')),
                           active => said(argument(boolean), <<"Whether the name has given the client shards.">>)}),
      'Message' => #{oneOf => [open([id, event], #{id => message_id(), event => ref('PlacedEvent')}),
                               open([id, erased],
                                    #{id => message_id(),
                                      erased => said(text(), <<"The id of an entity that was deleted.">>)})]},
      'Parked' => open([parked], #{parked => array(ref('Waiting'))}),
      'Waiting' => open([entity, seq, shard, state, tries, why, since],
                        #{entity => text(), seq => seq(1), shard => seq(), state => #{enum => [retrying, parked]},
                          tries => seq(), why => text(), since => micros()}),
      'Scope' => closed([], #{operations => array(#{enum => warp_server_scope:operations()}), context => text(),
                              prefix => text(), aggregates => array(text())}),
      'Token' => open([token, expires], #{token => text(), expires => seq()}),
      'Done' => open([], #{})}.

message_id() -> said(text(), <<"What acknowledges this, and all that the client was given before.">>).

problem() ->
    open([type, title, status, detail, advice, code, retryable, parameters],
         #{type => #{type => string, pattern => <<"^urn:warp:problem:[a-z0-9_]+$">>}, title => text(),
           status => integer(400, 599), detail => said(text(), <<"What happened.">>),
           advice => said(text(), <<"What to do.">>), code => said(text(), <<"The name of the reason.">>),
           retryable => said(argument(boolean), <<"Whether the same request may work later.">>),
           parameters => said(object(), <<"The values of the reason.">>)}).

new_event() ->
    closed([type, payload],
           #{type => said(name(), <<"What happened, such as Credited.">>),
             payload => said(object(), <<"At most 1 MiB of JSON, nested at most 128 deep.">>),
             aggregate => said(name(), <<"To be named where the context has several.">>),
             id => said(#{type => string, minLength => 1, maxLength => 533},
                        <<"One id stands for one event of the entity: with it an append can be repeated.">>),
             schema_vsn => said(schema_vsn(), <<"By default the version of the aggregate.">>),
             metadata => said(object(), <<"At most 1 MiB of JSON.">>)}).

event() ->
    #{type => text(), payload => object(), aggregate => text(), id => text(), schema_vsn => schema_vsn(),
      metadata => object(), seq => said(seq(1), <<"The number of the event in its entity's log.">>),
      recorded_at => micros()}.

placed_event() ->
    (event())#{entity => text(), shard => seq(), position => seq(1)}.

saga() ->
    #{id => text(), steps => array(step()), failed => said(ref('Failure'), <<"Why it turned back.">>),
      blocked => said(ref('Failure'), <<"The compensation that was refused.">>),
      note => said(text(), <<"Why somebody closed it.">>),
      waiting => open([step, entity, direction, reason, since],
                      #{step => seq(), entity => text(), direction => #{enum => [forward, compensate]},
                        reason => ref('Problem'), since => micros()}),
      started_at => micros(), updated_at => micros()}.

step() ->
    open([step, entity, aggregate, status],
         #{step => seq(), entity => text(), aggregate => text(),
           status => #{enum => [applied, reversed, refused, not_run, not_reversed]}, seq => seq(1),
           compensation_seq => seq(1), reason => ref('Problem')}).

saga_states() ->
    [<<"RUNNING">>, <<"COMPENSATING">>, <<"WAITING">>, <<"STUCK">>, <<"COMMITTED">>, <<"COMPENSATED">>, <<"RESOLVED">>].

%% @doc The schema of that name.
-spec ref(atom()) -> map().
ref(Name) -> #{'$ref' => <<"#/components/schemas/", (atom_to_binary(Name))/binary>>}.

%% An object that may get further members later, and one that has no others.
open(Required, Members) -> #{type => object, required => Required, properties => Members}.
closed(Required, Members) -> (open(Required, Members))#{additionalProperties => false}.

said(Schema, Text) -> Schema#{description => Text}.
nullable(Schema) -> #{oneOf => [Schema, #{type => <<"null">>}]}.
array(Items) -> #{type => array, items => Items}.
object() -> ref('Object').
text() -> #{type => string}.
name() -> #{type => string, minLength => 1, maxLength => 512}.
integer(Min, Max) -> #{type => integer, minimum => Min, maximum => Max}.
seq() -> seq(0).
seq(Min) -> integer(Min, ?MAX_INTEGER).
schema_vsn() -> integer(1, 16#ffffffff).
micros() -> said(#{type => integer}, <<"Microseconds since 1970, UTC.">>).
