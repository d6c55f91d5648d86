%% @private Decides what becomes of the requests to an entity, given the state of its log and the appends on their way
%% to it. Pure, except for the user's functions; {@link warp_entity} carries the decisions out.
%%
%% The core knows two states of the log: the committed one, which reads see, and the one ahead of it, which the log
%% will have when all accepted appends are stored. Requests are judged on the state ahead.
-module(warp_entity_core).

-export([new/2, reset/2, request/3, deletion/3, take/1, accepted/1, replies/1, stored/1, settle/2, look_up/4]).
-export([expects/2, compact/1, read/2, is_quiet/1, is_waiting/1, is_erasing/1, bytes/1, base/1, committed/1]).

-export_type([core/0, context/0, request/0, entry/0, settled/0, erasure/0]).

%% What requests are judged by. A running context has it, and more.
-type context() :: #{aggregates := #{binary() => warp_aggregate:aggregate()}, rules := warp_nif:rules(),
                     clock := warp_clock:clock(), atom() => term()}.

%% A state of the log: the seq and time of its last event, and the states of the aggregates after that event.
-record(log, {
    seq :: warp_core:seq(),
    time :: warp_core:micros(),
    states :: warp_aggregate:states()
}).

-record(append, {
    from :: warp_entity_reply:from(),
    request :: request(),
    pack :: warp_entity_pack:packed(),
    %% For each event of the request: its seq, if it was in the log already.
    template :: template(),
    %% Messages that are sent before the answer, when the append is stored.
    messages :: [message()],
    %% The state of the log after this append.
    log :: #log{}
}).
-record(refusal, {
    from :: warp_entity_reply:from(),
    request :: request(),
    messages :: [message()],
    result :: result(),
    %% What a decision was refused with, if its events have ids: these may be in the log already.
    decided = none :: none | {warp_entity_pack:packed(), [message()]}
}).
-record(deletion, {from :: warp_entity_reply:from(), erasure :: erasure()}).
-record(import, {
    from :: warp_entity_reply:from(),
    import :: warp_entity_import:import(),
    %% The state of the log behind it.
    log :: #log{}
}).

-record(core, {
    context :: context(),
    id :: binary(),
    committed :: #log{},
    ahead :: #log{},
    %% Entries that were handed to the writer, in order.
    in_flight = [] :: [entry()],
    %% Entries that wait behind those in flight, last first.
    queue = [] :: [entry()],
    %% The seq at which the states were last made compact.
    compact = 0 :: warp_core:seq()
}).

-opaque core() :: #core{}.
%% The module that takes the steps of a deletion before the log is erased, and its argument: see `warp_entity'.
-type erasure() :: {module(), term()}.
-opaque entry() :: #append{} | #refusal{} | #deletion{} | #import{}.
-type template() :: all_new | [new | warp_core:seq()].
-type request() ::
    {append, warp_entity_pack:packed(), any | no_stream | warp_core:seq()}
    | {decide, binary(), fun((term()) -> warp_core:decision(term()))}
    | {import, warp_entity_import:import()}
    %% The rest of an append, of which some events were in the log already.
    | {rest, warp_entity_pack:packed(), template(), Bytes :: non_neg_integer(), [message()]}.
-type message() :: {pid(), term()}.
-type result() ::
    {stored, warp_core:seq(), warp_core:seq()}
    | {stored_at, [warp_core:seq()]}
    %% The messages are sent first, and then the result.
    | {sending, [message(), ...], result()}
    %% So many events were erased.
    | {deleted, warp_core:seq()}
    | {error, term()}.
%% The answer to a caller. The events of a refused append with ids may be in the log already, so that these ids still
%% have to be looked up.
-type settled() ::
    {answer, warp_entity_reply:from(), request() | delete, result()}
    | {look_up, warp_entity_reply:from(), request(), result()}.

%% How many appends one submission has at most.
-define(MAX_APPENDS, 1000).
%% After a larger append the core searches the states for binaries that `apply' cut out of its events, for about as
%% long as packing the append took.
-define(LARGE_BYTES, 4096).
%% How many terms of the states are searched at most while nothing is under way.
-define(COMPACT_BUDGET, 1000000).

%% @doc The core of an entity without events.
-spec new(context(), binary()) -> core().
new(#{aggregates := Aggregates} = Context, Id) ->
    Empty = #log{seq = 0, time = 0, states = warp_aggregate:initial(Aggregates)},
    #core{context = Context, id = Id, committed = Empty, ahead = Empty}.

%% @doc The core with the state of the log that was read. All requests that wait are judged again.
-spec reset(warp_entity_replay:loaded(), core()) -> core().
reset(#{seq := Seq, recorded_at := Time, states := States}, Core) ->
    Log = #log{seq = Seq, time = Time, states = States},
    #core{in_flight = InFlight, queue = Queue} = Core,
    again(InFlight ++ lists:reverse(Queue),
          Core#core{committed = Log, ahead = Log, in_flight = [], queue = [], compact = Seq}).

%% @doc Judges a request and queues the result. A refusal queues too, so that callers are answered in order, and no
%% request is refused because of a state that the log does not reach in the end.
-spec request(request(), warp_entity_reply:from(), core()) -> core().
request(Request, From, Core) ->
    case judge(Request, Core) of
        {{accepted, Pack, Template, Ahead}, Messages} ->
            Append = #append{from = From, request = Request, pack = Pack, template = Template,
                             messages = Messages, log = Ahead},
            queue(Append, Core#core{ahead = Ahead});
        {imported, Import, Ahead} ->
            queue(#import{from = From, import = Import, log = Ahead}, Core#core{ahead = Ahead});
        {Result, Messages} ->
            queue(#refusal{from = From, request = Request, messages = Messages, result = Result}, Core);
        {Result, Messages, Pack} ->
            queue(#refusal{from = From, request = Request, messages = [], result = Result,
                           decided = {Pack, Messages}},
                  Core)
    end.

%% @doc Queues a deletion. Later requests are judged as those of an entity without events.
-spec deletion(erasure(), warp_entity_reply:from(), core()) -> core().
deletion(Erasure, From, #core{context = Context, id = Id} = Core) ->
    #core{ahead = Empty} = new(Context, Id),
    queue(#deletion{from = From, erasure = Erasure}, Core#core{ahead = Empty}).

queue(Entry, #core{queue = Queue} = Core) ->
    Core#core{queue = [Entry | Queue]}.

judge({append, Pack, Expected}, #core{ahead = #log{seq = Seq}} = Core) ->
    case Expected of
        any -> {accept(Pack, all_new, Core), []};
        Seq -> {accept(Pack, all_new, Core), []};
        no_stream when Seq =:= 0 -> {accept(Pack, all_new, Core), []};
        _ -> {{error, {wrong_expected_seq, Seq}}, []}
    end;
judge({decide, Name, Fun}, #core{ahead = #log{states = States}} = Core) ->
    case States of
        #{Name := {ok, State}} ->
            try Fun(State) of
                Decision -> decided(Decision, Name, Core)
            catch
                Class:Reason:Stack -> {{error, {decide_failed, warp_function:crash(Class, Reason, Stack)}}, []}
            end;
        #{Name := {error, _} = Error} ->
            {Error, []};
        #{} ->
            {{error, {unknown_aggregate, Name}}, []}
    end;
judge({import, #{count := Count, time := Time, states := States} = Import}, #core{ahead = #log{seq = 0}}) ->
    {imported, Import, #log{seq = Count, time = Time, states = States}};
judge({import, _}, #core{ahead = #log{seq = Seq}}) ->
    {{error, {entity_not_empty, #{last_seq => Seq}}}, []};
judge({rest, Pack, Template, _, Messages}, Core) ->
    with_messages(accept(Pack, Template, Core), Messages).

decided({ok, Events}, Name, Core) when is_list(Events) ->
    accept_decision(Events, [], Name, Core);
decided({ok, Events, Messages} = Decision, Name, Core) when is_list(Events), is_list(Messages) ->
    IsMessage = fun({To, _}) -> is_pid(To); (_) -> false end,
    case is_proper(Messages) andalso lists:all(IsMessage, Messages) of
        true -> accept_decision(Events, Messages, Name, Core);
        false -> {{error, {bad_return, decide, Decision}}, []}
    end;
decided({error, _} = Refused, _Name, _Core) ->
    {Refused, []};
decided(Other, _Name, _Core) ->
    {{error, {bad_return, decide, Other}}, []}.

accept_decision([], Messages, _Name, _Core) ->
    {{stored_at, []}, Messages};
accept_decision(Events, Messages, Name, #core{context = Context, id = Id} = Core) ->
    case warp_entity_pack:pack(Context, Id, Name, Events) of
        {ok, #{has_ids := HasIds} = Pack} ->
            case accept(Pack, all_new, Core) of
                {error, _} = Refused when HasIds ->
                    {Refused, Messages, Pack};
                {error, _} = Refused ->
                    ok = warp_entity_pack:release(Pack),
                    {Refused, []};
                Accepted ->
                    {Accepted, Messages}
            end;
        {error, _} = Error ->
            {Error, []}
    end.

is_proper(List) ->
    try length(List) >= 0 catch error:badarg -> false end.

with_messages({error, _} = Error, _Messages) -> {Error, []};
with_messages(Accepted, Messages) -> {Accepted, Messages}.

accept(#{count := Count, events := Events, bytes := Bytes} = Pack, Template, Core) ->
    #core{context = #{aggregates := Aggregates, clock := Clock}, id = Id, ahead = Ahead} = Core,
    #log{seq = Seq, time = Previous, states = States} = Ahead,
    Time = warp_clock:stamp(Clock, Id, Previous),
    Result =
        case Events of
            none -> {ok, States};
            _ -> warp_aggregate:live(Aggregates, Id, Events, Seq, Time, States)
        end,
    case Result of
        {ok, Next} ->
            Kept = if Bytes > ?LARGE_BYTES -> warp_compact:term(Next, Bytes div 4); true -> Next end,
            {accepted, Pack, Template, #log{seq = Seq + Count, time = Time, states = Kept}};
        {error, _} = Error ->
            Error
    end.

%% @doc What to do next: hand appends or an import to the writer, have the entity erased, or answer a refusal that is
%% first in the queue. `nothing' while there are entries in flight, or when none waits.
-spec take(core()) ->
    {append, [{warp_nif:packed(), warp_core:micros()}], core()}
    | {import, warp_nif:import(), core()}
    | {erase, erasure(), core()}
    | {refuse, settled(), core()}
    | {nothing, core()}.
take(#core{in_flight = [_ | _]} = Core) ->
    {nothing, Core};
take(#core{queue = []} = Core) ->
    {nothing, Core};
take(#core{queue = [#append{pack = #{packed := Packed}, log = Log} = Only]} = Core) ->
    {append, [{Packed, Log#log.time}], Core#core{in_flight = [Only], queue = []}};
take(#core{queue = Queue} = Core) ->
    case lists:reverse(Queue) of
        [#refusal{} = Refusal | Rest] ->
            {Settled, Next} = settle_entry(Refusal, Core#core{queue = lists:reverse(Rest)}),
            {refuse, Settled, Next};
        [#deletion{erasure = Erasure} = Deletion | Rest] ->
            {erase, Erasure, Core#core{in_flight = [Deletion], queue = lists:reverse(Rest)}};
        [#import{import = #{import := Import}} = Entry | Rest] ->
            {import, Import, Core#core{in_flight = [Entry], queue = lists:reverse(Rest)}};
        Entries ->
            {Taken, Rest} = split(Entries, ?MAX_APPENDS, []),
            Rows = [{maps:get(packed, Pack), Time}
                    || #append{pack = Pack, log = #log{time = Time}} <- Taken],
            {append, Rows, Core#core{in_flight = Taken, queue = lists:reverse(Rest)}}
    end.

split([#append{} = Entry | Entries], Room, Taken) when Room > 0 ->
    split(Entries, Room - 1, [Entry | Taken]);
split([#refusal{} = Entry | Entries], Room, Taken) ->
    split(Entries, Room, [Entry | Taken]);
split(Rest, _Room, Taken) ->
    {lists:reverse(Taken), Rest}.

%% @doc Who of the callers of the entries in flight is told already that an append was handed to the writer, and which
%% seqs it has once it is stored.
-spec accepted(core()) -> [{gen_server:from(), {accepted, warp_core:seq(), warp_core:seq()}}].
accepted(#core{in_flight = InFlight}) ->
    [{From, {accepted, Last - Count + 1, Last}}
     || #append{from = {early, From}, pack = #{count := Count}, log = #log{seq = Last}} <- InFlight].

%% @doc The answers to the callers of all entries in flight, if the writer stores all of them, and how many bytes
%% their requests have. `unknown' when there are refusals among them whose ids have to be looked up.
-spec replies(core()) -> {ok, [{warp_entity_reply:from(), result()}], Bytes :: non_neg_integer()} | unknown.
replies(#core{in_flight = [#append{} = Only]} = Core) ->
    {{answer, From, Request, Result}, _} = settle_entry(Only, Core),
    {ok, [{From, Result}], bytes(Request)};
replies(#core{in_flight = InFlight} = Core) ->
    {Settled, _} = lists:mapfoldl(fun settle_entry/2, Core, InFlight),
    case lists:keymember(look_up, 1, Settled) of
        false ->
            {ok, [{From, Result} || {answer, From, _, Result} <- Settled],
             lists:sum([bytes(Request) || {answer, _, Request, _} <- Settled])};
        true ->
            unknown
    end.

%% @doc How many bytes of events a request has, as its caller counted them.
-spec bytes(request() | delete) -> non_neg_integer().
bytes({append, #{bytes := Bytes}, _}) -> Bytes;
bytes({rest, _, _, Bytes, _}) -> Bytes;
bytes({import, #{bytes := Bytes}}) -> Bytes;
bytes(_Request) -> 0.

%% @doc Notes that all entries in flight are stored, and their callers answered.
-spec stored(core()) -> core().
stored(#core{in_flight = [#append{log = Log}]} = Core) ->
    Core#core{committed = Log, in_flight = []};
stored(#core{in_flight = InFlight} = Core) ->
    {_, Stored} = lists:mapfoldl(fun settle_entry/2, Core#core{in_flight = []}, InFlight),
    Stored.

%% @doc Whether an answer of the writer fits the entries in flight. If not, it is no answer to this process.
-spec expects(term(), core()) -> boolean().
expects(erased, Core) ->
    is_erasing(Core);
expects({stopped, _, Done, _}, #core{in_flight = InFlight}) ->
    length([Append || #append{} = Append <- InFlight]) > Done;
expects(Answer, #core{in_flight = [_ | _]}) ->
    case Answer of
        {stored, _} -> true;
        {wrong_base, _} -> true;
        {failed, _} -> true;
        _ -> false
    end;
expects(_Answer, _Core) ->
    false.

%% @doc The answers to callers that follow from the writer's answer, in order. When the writer stopped at an append,
%% all later requests are judged again.
-spec settle(warp_nif:answer(), core()) -> {[settled()], core()}.
settle({stored, _}, #core{in_flight = InFlight} = Core) ->
    lists:mapfoldl(fun settle_entry/2, Core#core{in_flight = []}, InFlight);
settle(erased, #core{in_flight = [#deletion{from = From}], committed = #log{seq = Seq}} = Core) ->
    #core{context = Context, id = Id} = Core,
    #core{committed = Empty} = new(Context, Id),
    {[{answer, From, delete, {deleted, Seq}}], Core#core{committed = Empty, in_flight = [], compact = 0}};
settle({stopped, _, Done, Why}, #core{in_flight = InFlight, queue = Queue} = Core) ->
    {Stored, [#append{} = Stopped | Behind]} = after_appends(InFlight, Done, []),
    {Settled, Core1} = lists:mapfoldl(fun settle_entry/2, Core, Stored),
    Fresh = Core1#core{ahead = Core1#core.committed, in_flight = [], queue = []},
    {Own, Core2} = stop(Why, Stopped, Fresh),
    {Settled ++ Own, again(Behind ++ lists:reverse(Queue), Core2)};
settle({failed, Reason}, #core{in_flight = InFlight, queue = Queue} = Core) ->
    Entries = InFlight ++ lists:reverse(Queue),
    ok = lists:foreach(fun release/1, Entries),
    Failed = [{answer, from(Entry), of_entry(Entry), {error, Reason}} || Entry <- Entries],
    {Failed, Core#core{ahead = Core#core.committed, in_flight = [], queue = []}}.

settle_entry(#append{from = From, request = Request, log = Log} = Entry, Core) ->
    #append{pack = #{count := Count}, template = Template, messages = Messages} = Entry,
    First = Log#log.seq - Count + 1,
    Result =
        case Template of
            all_new -> {stored, First, Log#log.seq};
            _ -> {stored_at, fill(Template, First)}
        end,
    {{answer, From, Request, sending(Messages, Result)}, Core#core{committed = Log}};
settle_entry(#import{from = From, import = Import, log = #log{seq = Last} = Log}, Core) ->
    {{answer, From, {import, Import}, {stored, 1, Last}}, Core#core{committed = Log}};
settle_entry(#refusal{from = From, request = Request, result = Result, decided = {Pack, Messages}}, Core) ->
    {{look_up, From, {rest, Pack, all_new, bytes(Request), Messages}, Result}, Core};
settle_entry(#refusal{from = From, request = Request, result = Result} = Refusal, Core) ->
    case {Result, Request} of
        {{error, _}, {append, #{has_ids := true}, _}} -> {{look_up, From, Request, Result}, Core};
        _ -> {{answer, From, Request, sending(Refusal#refusal.messages, Result)}, Core}
    end.

sending([], Result) -> Result;
sending(Messages, Result) -> {sending, Messages, Result}.

%% Splits the entries after so many appends, right before the next append.
after_appends([#append{} | _] = Entries, 0, Before) ->
    {lists:reverse(Before), Entries};
after_appends([#append{} = Entry | Entries], N, Before) ->
    after_appends(Entries, N - 1, [Entry | Before]);
after_appends([Entry | Entries], N, Before) ->
    after_appends(Entries, N, [Entry | Before]).

stop({duplicates, Found}, #append{from = From, request = Request} = Append, Core) ->
    #append{pack = Pack, template = Template, messages = Messages} = Append,
    without(Found, From, Request, Pack, Template, Messages, Core);
stop(Reason, #append{from = From, request = Request}, Core) ->
    {[{answer, From, Request, {error, Reason}}], Core}.

%% @doc The answer to a refused append or decision, given which of its ids are in the log already. One that was carried
%% out earlier gets the answer of that time, even if it would be refused now. If only a part of it was carried out, the
%% rest is judged alone.
-spec look_up(none | warp_nif:stop(), {warp_entity_reply:from(), request()}, result(), core()) ->
    {[settled()], core()}.
look_up({duplicates, Found}, {From, {append, #{count := Count}, _} = Request},
        {error, {wrong_expected_seq, _}} = Refused, Core) when length(Found) < Count ->
    %% The caller expected another end of the log, and the missing events would be appended at the wrong place.
    {[{answer, From, Request, Refused}], Core};
look_up({duplicates, Found}, {From, {append, Pack, _} = Request}, _Refused, Core) ->
    without(Found, From, Request, Pack, all_new, [], Core);
look_up({duplicates, Found}, {From, {rest, Pack, Template, _, Messages} = Request}, _Refused, Core) ->
    without(Found, From, Request, Pack, Template, Messages, Core);
look_up({id_conflict, _} = Conflict, {From, Request}, _Refused, Core) ->
    {[{answer, From, Request, {error, Conflict}}], Core};
look_up(_Nothing, {From, Request}, Refused, Core) ->
    {[{answer, From, Request, Refused}], Core}.

without(Found, From, Request, Pack, Template0, Messages, Core) ->
    #{count := Count, events := Events} = Pack,
    Template = known(Template0, Found, Count),
    case [Index || Index <- lists:seq(0, Count - 1), not lists:keymember(Index, 1, Found)] of
        [] ->
            {[{answer, From, Request, sending(Messages, {stored_at, Template})}], Core};
        Missing ->
            Kept = warp_entity_pack:keep(Pack, Missing, nth(Missing, Events)),
            {[], request({rest, Kept, Template, bytes(Request), Messages}, From, Core)}
    end.

nth(_Indexes, none) ->
    none;
nth(Indexes, Events) ->
    Numbered = lists:zip(lists:seq(0, length(Events) - 1), Events),
    [Event || {Index, Event} <- Numbered, lists:member(Index, Indexes)].

%% Notes the seqs of events that were found. The indexes in Found count only the events that were still new.
known(all_new, Found, Count) ->
    known(lists:duplicate(Count, new), Found, Count);
known(Template, Found, _Count) ->
    {Known, _} = lists:mapfoldl(
        fun
            (new, Index) ->
                case lists:keyfind(Index, 1, Found) of
                    {Index, Seq} -> {Seq, Index + 1};
                    false -> {new, Index + 1}
                end;
            (Seq, Index) ->
                {Seq, Index}
        end,
        0,
        Template
    ),
    Known.

fill(Template, First) ->
    {Seqs, _} = lists:mapfoldl(
        fun
            (new, Next) -> {Next, Next + 1};
            (Seq, Next) -> {Seq, Next}
        end,
        First,
        Template
    ),
    Seqs.

again(Entries, Core) ->
    lists:foldl(
        fun
            (#deletion{from = From, erasure = Erasure}, Acc) -> deletion(Erasure, From, Acc);
            (#import{from = From, import = Import}, Acc) -> request({import, Import}, From, Acc);
            (#append{from = From, request = Request}, Acc) -> request(Request, From, Acc);
            (#refusal{from = From, request = Request} = Refusal, Acc) ->
                ok = release(Refusal),
                request(Request, From, Acc)
        end,
        Core,
        Entries
    ).

%% Frees the memory of events that nobody needs any more.
release(#append{pack = Pack}) -> warp_entity_pack:release(Pack);
release(#refusal{decided = {Pack, _}}) -> warp_entity_pack:release(Pack);
release(_Entry) -> ok.

from(#append{from = From}) -> From;
from(#refusal{from = From}) -> From;
from(#import{from = From}) -> From;
from(#deletion{from = From}) -> From.

of_entry(#append{request = Request}) -> Request;
of_entry(#refusal{request = Request}) -> Request;
of_entry(#import{import = Import}) -> {import, Import};
of_entry(#deletion{}) -> delete.

%% @doc Copies the parts of much larger binaries that the states hold, if nothing is under way.
-spec compact(core()) -> core().
compact(#core{committed = #log{seq = Seq}, compact = Seq} = Core) ->
    Core;
compact(#core{in_flight = [], queue = [], committed = #log{seq = Seq, states = States} = Log} = Core) ->
    Compact = Log#log{states = warp_compact:term(States, ?COMPACT_BUDGET)},
    Core#core{committed = Compact, ahead = Compact, compact = Seq};
compact(Core) ->
    Core.

%% @doc The committed state of an aggregate, or why there is none.
-spec read(binary(), core()) -> {ok, term()} | {error, term()}.
read(Name, #core{committed = #log{states = States}}) ->
    maps:get(Name, States, {error, {unknown_aggregate, Name}}).

%% @doc Whether nothing is under way or waiting.
-spec is_quiet(core()) -> boolean().
is_quiet(#core{in_flight = [], queue = []}) -> true;
is_quiet(#core{}) -> false.

%% @doc Whether entries wait in the queue.
-spec is_waiting(core()) -> boolean().
is_waiting(#core{queue = Queue}) -> Queue =/= [].

%% @doc Whether the writer is erasing the entity.
-spec is_erasing(core()) -> boolean().
is_erasing(#core{in_flight = [#deletion{}]}) -> true;
is_erasing(#core{}) -> false.

%% @doc The seq that the committed log ends at.
-spec base(core()) -> warp_core:seq().
base(#core{committed = #log{seq = Seq}}) ->
    Seq.

%% @doc The committed states, with the seq and time of the last event in them.
-spec committed(core()) -> {warp_core:seq(), warp_core:micros(), warp_aggregate:states()}.
committed(#core{committed = #log{seq = Seq, time = Time, states = States}}) ->
    {Seq, Time, States}.
