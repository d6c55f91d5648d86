%% Events of the engine, which are maps, as `warp/event' makes and reads them.
-module(warp_event_ffi).

-export([new/2, with_type/2, with_payload/2, with_aggregate/2, with_id/2, with_schema_vsn/2, with_metadata/2]).
-export([type/1, payload/1, aggregate/1, id/1, schema_vsn/1, metadata/1]).
-export([seq/1, recorded_at/1]).

-spec new(binary(), map() | binary()) -> warp_core:new_event().
new(Type, Payload) -> #{type => Type, payload => Payload}.

-spec with_type(Event, binary()) -> Event when Event :: map().
with_type(Event, Type) -> Event#{type => Type}.

-spec with_payload(Event, term()) -> Event when Event :: map().
with_payload(Event, Payload) -> Event#{payload => Payload}.

-spec with_aggregate(Event, binary()) -> Event when Event :: map().
with_aggregate(Event, Name) -> Event#{aggregate => Name}.

-spec with_id(Event, binary()) -> Event when Event :: map().
with_id(Event, Id) -> Event#{id => Id}.

-spec with_schema_vsn(Event, integer()) -> Event when Event :: map().
with_schema_vsn(Event, Vsn) -> Event#{schema_vsn => Vsn}.

-spec with_metadata(Event, term()) -> Event when Event :: map().
with_metadata(Event, Metadata) -> Event#{metadata => Metadata}.

-spec type(map()) -> binary().
type(#{type := Type}) -> Type.

-spec payload(map()) -> map() | binary().
payload(#{payload := Payload}) -> Payload.

-spec aggregate(map()) -> binary().
aggregate(Event) -> maps:get(aggregate, Event, <<>>).

-spec id(map()) -> binary().
id(Event) -> maps:get(id, Event, <<>>).

-spec schema_vsn(map()) -> non_neg_integer().
schema_vsn(Event) -> maps:get(schema_vsn, Event, 0).

-spec metadata(map()) -> term().
metadata(Event) -> maps:get(metadata, Event, #{}).

-spec seq(map()) -> warp_core:seq().
seq(Event) -> maps:get(seq, Event, 0).

-spec recorded_at(map()) -> warp_core:micros().
recorded_at(Event) -> maps:get(recorded_at, Event, 0).
