-- One row a stream, with what most questions about quality need.
CREATE OR REPLACE VIEW stream_facts AS
SELECT
    t.call_date, t.call_id, t.session_index, t.segment_index, t.media_index, t.stream_index,
    t.call_start_date_time,
    s.start_date_time AS session_start_date_time,
    s.duration_seconds AS session_duration_seconds,
    t.call_type,
    c.organizer_id,
    c.join_web_url_thread_id,
    t.session_is_test,
    coalesce(s.failure_stage, g.failure_stage) AS failure_stage,
    t.media_kind, t.media_label, t.quality, t.poor_reasons, t.packet_utilization,
    t.average_jitter_ms, t.average_packet_loss_rate, t.average_round_trip_time_ms,
    t.average_ratio_of_concealed_samples, t.average_video_frame_loss_percentage,
    t.average_video_frame_rate, t.post_forward_error_correction_packet_loss_rate,
    t.average_freeze_duration_ms, t.average_bandwidth_estimate,
    coalesce(nullif(m.caller_network_network_transport_protocol, 'unknown'),
             m.callee_network_network_transport_protocol) AS transport_protocol,
    t.sender_side,
    t.sender_endpoint_kind, t.sender_identity_id, t.sender_user_agent_platform,
    t.sender_network_connection_type, t.sender_network_subnet,
    t.receiver_endpoint_kind, t.receiver_identity_id, t.receiver_user_agent_platform,
    t.receiver_network_connection_type, t.receiver_network_subnet
FROM streams t
JOIN media m USING (call_date, call_id, call_start_date_time, session_index, segment_index, media_index)
JOIN segments g USING (call_date, call_id, call_start_date_time, session_index, segment_index)
JOIN sessions s USING (call_date, call_id, call_start_date_time, session_index)
JOIN calls c USING (call_date, call_id, call_start_date_time);

-- One row per stream and participant at one of its ends: a stream of a meeting
-- once, a peer-to-peer one twice. What a receiver got is its own experience.
CREATE OR REPLACE VIEW stream_ends AS
SELECT
    call_date, call_id, call_start_date_time, session_index, segment_index, media_index, stream_index,
    'sender' AS end_role,
    sender_identity_id AS identity_id,
    sender_user_agent_platform AS user_agent_platform,
    sender_network_connection_type AS network_connection_type,
    sender_network_subnet AS network_subnet,
    call_type, session_is_test, media_kind, quality, poor_reasons
FROM stream_facts WHERE sender_endpoint_kind = 'participant'
UNION ALL
SELECT
    call_date, call_id, call_start_date_time, session_index, segment_index, media_index, stream_index,
    'receiver' AS end_role,
    receiver_identity_id AS identity_id,
    receiver_user_agent_platform AS user_agent_platform,
    receiver_network_connection_type AS network_connection_type,
    receiver_network_subnet AS network_subnet,
    call_type, session_is_test, media_kind, quality, poor_reasons
FROM stream_facts WHERE receiver_endpoint_kind = 'participant';
