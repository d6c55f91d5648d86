-- Each aircraft's totals, for the table `direct`, computed from the table `source`: the published
-- flights.csv, imported as it is. A missing value is the text NA.
create table refused as
    select rowid as row from source where tailnum in ('', 'NA');

create table flight as
    select tailnum as id, carrier, origin, dest,
           dep_time = 'NA' as cancelled,
           cast(distance as integer) as miles,
           cast(nullif(air_time, 'NA') as integer) as minutes,
           cast(nullif(dep_delay, 'NA') as integer) as late,
           cast(nullif(arr_delay, 'NA') as integer) as later,
           printf('%04d-%02d-%02d %04d %08d', year, month, day, sched_dep_time, rowid) as moment
    from source
    where tailnum not in ('', 'NA');

-- With max(), sqlite takes the other columns from the row that has the largest value.
create table last_flown as
    select id, dest, max(moment) from flight where not cancelled group by id;

insert into direct
    select flight.id, count(*), sum(cancelled),
           sum(iif(cancelled, 0, miles)), sum(ifnull(minutes, 0)),
           ifnull(max(coalesce(max(late, later), late, later)), ''),
           ifnull(last_flown.dest, '')
    from flight left join last_flown on last_flown.id = flight.id
    group by flight.id;
