%% The flights of 2013 out of New York: an entity per aircraft (its tail number), an event per
%% flight. Rows come in the order of their scheduled departure.
-module(warp_demo_flights).
-behaviour(warp_demo_data).

-export([context/0, words/0, aggregate/0, reader/2, columns/0, values/1, direct/4,
         tables/0, ids_stand_alone/0, describe/1, describe_event/1, moments/1]).

-define(DAY, <<"2013-07-01">>).

context() -> <<"flights">>.

words() ->
    #{event => "flight", events => "flights", entity => "aircraft", entities => "aircraft"}.

%% flights: all of them, of which so many cancelled. The others have no departure time, so they add
%% no miles, no minutes, no delay and no destination.
aggregate() ->
    #{name => <<"aircraft">>,
      initial_state => #{flights => 0, cancelled => 0, miles => 0, minutes => 0,
                         worst_delay => null, last_destination => null},
      apply => fun fold/2,
      project => fun project/3}.

fold(#{flights := Flights, cancelled := Cancelled} = State, #{type := <<"Cancelled">>}) ->
    State#{flights := Flights + 1, cancelled := Cancelled + 1};
fold(#{flights := Flights, miles := Miles, minutes := Minutes, worst_delay := Worst} = State,
     #{type := <<"Flown">>, payload := Flight}) ->
    #{<<"distance">> := Distance, <<"air_time">> := AirTime, <<"dest">> := Destination,
      <<"dep_delay">> := Late, <<"arr_delay">> := Later} = Flight,
    State#{flights := Flights + 1, miles := Miles + Distance, minutes := add(Minutes, AirTime),
           worst_delay := worse(worse(Worst, Late), Later), last_destination := Destination}.

%% The aircraft's state as a row; and what many aircraft have a share in.
project(TailNumber, State, #{type := Type, payload := Flight}) ->
    #{<<"carrier">> := Carrier, <<"origin">> := Origin, <<"dest">> := Destination} = Flight,
    {Cancelled, Miles, Minutes} = case {Type, Flight} of
                                      {<<"Cancelled">>, _} -> {1, 0, 0};
                                      {_, #{<<"distance">> := D, <<"air_time">> := T}} -> {0, D, add(0, T)}
                                  end,
    Share = #{flights => 1, cancelled => Cancelled, miles => Miles, minutes => Minutes},
    [warp_projection:upsert(aircraft, TailNumber, State),
     warp_projection:increment(routes, <<Origin/binary, $-, Destination/binary>>, Share),
     warp_projection:increment(carriers, Carrier, Share)].

%% A diverted flight has no time in the air.
add(Sum, null) -> Sum;
add(Sum, Number) -> Sum + Number.

worse(Worst, null) -> Worst;
worse(null, Delay) -> Delay;
worse(Worst, Delay) -> max(Worst, Delay).

reader(Header, IdColumn) ->
    Places = maps:from_list(lists:zip(Header, lists:seq(1, length(Header)))),
    Read = [maps:get(Name, Places)
            || Name <- [IdColumn, <<"year">>, <<"month">>, <<"day">>, <<"sched_dep_time">>,
                        <<"dep_time">>, <<"carrier">>, <<"flight">>, <<"origin">>, <<"dest">>,
                        <<"distance">>, <<"air_time">>, <<"dep_delay">>, <<"arr_delay">>]],
    fun(N, Fields) ->
        Row = list_to_tuple(Fields),
        [TailNumber, Year, Month, Day, Scheduled, Departed, Carrier, Flight, Origin, Destination,
         Distance, AirTime, Late, Later] = [element(Place, Row) || Place <- Read],
        {present(TailNumber),
         #{id => <<"row-", (integer_to_binary(N))/binary>>,
           type => type(Departed),
           payload => #{date => <<Year/binary, $-, (pad(Month))/binary, $-, (pad(Day))/binary>>,
                        time => time(Scheduled),
                        carrier => binary:copy(Carrier), flight => number(Flight),
                        origin => binary:copy(Origin), dest => binary:copy(Destination),
                        distance => number(Distance), air_time => number(AirTime),
                        dep_delay => number(Late), arr_delay => number(Later)}}}
    end.

%% The file writes NA for what is missing.
present(<<"NA">>) -> <<>>;
present(Text) -> binary:copy(Text).

type(<<"NA">>) -> <<"Cancelled">>;
type(_) -> <<"Flown">>.

number(<<"NA">>) -> null;
number(Text) -> binary_to_integer(Text).

pad(<<_>> = Digit) -> <<$0, Digit/binary>>;
pad(Digits) -> Digits.

%% 517 is 05:17.
time(Scheduled) ->
    Number = binary_to_integer(Scheduled),
    <<(pad(integer_to_binary(Number div 100)))/binary, $:,
      (pad(integer_to_binary(Number rem 100)))/binary>>.

columns() ->
    [{"flights", "integer"}, {"cancelled", "integer"}, {"miles", "integer"},
     {"minutes", "integer"}, {"worst_delay", "integer"}, {"last_destination", "text"}].

values(#{flights := Flights, cancelled := Cancelled, miles := Miles, minutes := Minutes,
         worst_delay := Worst, last_destination := Last}) ->
    [Flights, Cancelled, Miles, Minutes, blank(Worst), blank(Last)].

blank(null) -> <<>>;
blank(Value) -> Value.

%% From the file as it was published, whose rows are in another order.
direct(_ByTime, _Header, _IdColumn, _Refused) ->
    Published = filename:join(warp_demo_text:root(), "_build/demo-cache/flights.csv"),
    Script = filename:join(warp_demo_text:root(), "demo/flights.sql"),
    [[".import --csv ", warp_demo_sqlite:quote(Published), " source"],
     [".read ", warp_demo_sqlite:quote(Script)]].

tables() ->
    Share = [{"flights", "integer"}, {"cancelled", "integer"}, {"miles", "integer"},
             {"minutes", "integer"}],
    Sums = "count(*), sum(cancelled), sum(iif(cancelled, 0, miles)), "
           "sum(iif(cancelled, 0, ifnull(minutes, 0))) from flight",
    [{"aircraft", columns(), "select * from direct"},
     {"routes", Share, ["select origin || '-' || dest, ", Sums, " group by origin, dest"]},
     {"carriers", Share, ["select carrier, ", Sums, " group by carrier"]}].

ids_stand_alone() -> true.

describe(#{flights := Flights, cancelled := Cancelled, miles := Miles, minutes := Minutes,
           worst_delay := Worst, last_destination := Last}) ->
    [warp_demo_text:count(Flights), " flights (", warp_demo_text:count(Cancelled),
     " cancelled), ", warp_demo_text:count(Miles), " miles, ",
     warp_demo_text:decimal(Minutes / 60, 1), " h in the air, worst delay ", minutes(Worst),
     ", last to ", text(Last)].

describe_event(#{seq := Seq, type := Type, payload := Flight}) ->
    #{<<"date">> := Date, <<"time">> := Time, <<"carrier">> := Carrier, <<"flight">> := Number,
      <<"origin">> := Origin, <<"dest">> := Destination, <<"arr_delay">> := Delay} = Flight,
    io_lib:format("~7b  ~ts ~ts  ~-9ts ~ts~-5b ~ts-~ts  ~ts",
                  [Seq, Date, Time, Type, Carrier, Number, Origin, Destination,
                   case Delay of null -> ""; _ -> ["arrival ", minutes(Delay)] end]).

minutes(null) -> "none";
minutes(Minutes) when Minutes > 0 -> ["+", warp_demo_text:count(Minutes), " min"];
minutes(Minutes) -> [warp_demo_text:count(Minutes), " min"].

text(null) -> "nowhere";
text(Text) -> Text.

%% The events of an aircraft are in the order of their dates, so a date is a place in its log.
moments(History) ->
    Until = length([Seq || #{seq := Seq, payload := #{<<"date">> := Date}} <- History,
                           Date =< ?DAY]),
    [{["after ", ?DAY], {seq, Until}}].
