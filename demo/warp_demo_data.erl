%% What a set of rows has to say for itself, so that the demo can load, fold and check it.
-module(warp_demo_data).

-export_type([reader/0, moment/0]).

%% Makes of a numbered row what is sent to Warp, or nothing of a blank one.
-type reader() :: fun((pos_integer(), [binary()]) -> {Id :: binary(), Event :: map()} | blank).
-type moment() :: {Label :: iodata(), {seq, non_neg_integer()}}.

-callback context() -> binary().
%% What an event, an entity and several of each are called.
-callback words() -> #{event := string(), events := string(),
                       entity := string(), entities := string()}.
-callback aggregate() -> map().
-callback reader(Header :: [binary()], IdColumn :: binary()) -> reader().

%% The state as it is compared: the columns after the id, of which the first counts its events, and
%% a state's values for them.
-callback columns() -> [{Name :: string(), SqlType :: string()}].
-callback values(State :: map()) -> [binary() | integer()].
%% Commands for the sqlite3 shell that fill the table `direct`, which has those columns, from the
%% file alone, and make a table `refused` with the number of each row that must not be stored.
-callback direct(Csv :: file:filename_all(), Header :: [binary()], IdColumn :: binary(),
                 RefusedCsv :: file:filename_all()) -> [iodata()].

%% The tables of the read model: name, columns after the id, of which the first counts its events,
%% and a query that gives its rows from what `direct' has made. The first table has a row for each
%% entity.
-callback tables() -> [{Name :: string(), [{Column :: string(), SqlType :: string()}], Sql :: iodata()}].

%% Whether an id's text stands in the files for nothing else, neither in other ids nor in payloads.
-callback ids_stand_alone() -> boolean().
-callback describe(State :: map()) -> iodata().
-callback describe_event(Event :: map()) -> iodata().
%% Points in an entity's history that mean something to a person.
-callback moments(History :: [map()]) -> [moment()].
